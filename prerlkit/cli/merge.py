"""`prerlkit merge`: all stages of a run in one 16-bit model that is proven to be the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Base, Checkpoint, Overwrite, Run, Trust, Verbose, say
from prerlkit.cli.visible import echo
from prerlkit.recipe.dtype import Dtype


@guarded
def merge(
    run: Run,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New folder; RUN/merged.")] = None,
    dtype: Annotated[Dtype | None, typer.Option("--dtype", help="Of the result; the recipe's model.dtype.")] = None,
    lora_scale: Annotated[
        float, typer.Option("--lora-scale", help="Multiplies the adapters; 1 is the policy that was trained.")
    ] = 1.0,
    gguf: Annotated[
        Literal["bf16", "q8_0"] | None, typer.Option("--gguf", help="Also write a GGUF file, and load it back.")
    ] = None,
    base: Base = None,
    checkpoint: Checkpoint = False,
    overwrite: Overwrite = False,
    trust: Trust = False,
    verbose: Verbose = False,
) -> None:
    """Merge a run's adapters into its 16-bit base, and prove that the result is the policy that was trained.

    [bold]prerlkit merge runs/quickstart_dsrl[/bold]
      into runs/quickstart_dsrl/merged
    [bold]prerlkit merge runs/quickstart_dsrl --gguf q8_0[/bold]
      for llama.cpp too
    [bold]prerlkit merge runs/quickstart_dsrl --dtype float32[/bold]
      when 16 bits can't hold the change

    Weights are read, merged in float32 and rounded one by one: memory for one shard of 2 GiB is enough. Then logits of
    the live policy, the base and the merged model are compared in float32. A merge that fails is not kept.
    """
    report = say(verbose)  # before anything heavy is imported
    from prerlkit.publish.merge import merge as merge_run

    merged = merge_run(
        run,
        output,
        base=base,
        dtype=dtype,
        lora_scale=lora_scale,
        gguf=gguf,
        checkpoint=checkpoint,
        overwrite=overwrite,
        trust=trust,
        report=report,
    )
    echo(f"proven: {merged.proof}")
    if merged.four_bit:
        echo(f"not exact, as the run trained on 4-bit weights: {merged.four_bit}")
    if merged.gguf:
        echo(f"GGUF: {merged.gguf}")
    echo(f"merged model: {merged.folder}")
