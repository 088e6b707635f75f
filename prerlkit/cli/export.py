"""`prerlkit export`: a run's adapters for PEFT, transformers and vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Base, Checkpoint, Overwrite, Run, Trust, Verbose, say
from prerlkit.cli.visible import echo


@guarded
def export(
    run: Run,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New folder; RUN/export.")] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", min=1, help="Reduce the adapter to this rank; prints what is lost.")
    ] = None,
    stages: Annotated[bool, typer.Option("--stages", help="Also each stage's own adapter, in stages/.")] = False,
    base: Base = None,
    checkpoint: Checkpoint = False,
    overwrite: Overwrite = False,
    trust: Trust = False,
    verbose: Verbose = False,
) -> None:
    """Write a run's stages as one PEFT adapter, and load it back by PEFT and by transformers.

    [bold]prerlkit export runs/quickstart_dsrl[/bold]
      into runs/quickstart_dsrl/export
    [bold]prerlkit export runs/quickstart_dsrl --rank 16[/bold]
      smaller, not quite the same: the difference is printed
    [bold]prerlkit export runs/quickstart_dsrl --stages[/bold]
      NSR-PreRL and GRPO apart as well

    A stage's own adapter is what that stage added: it is added on top of the earlier ones.
    """
    report = say(verbose)  # before anything heavy is imported
    from prerlkit.publish.export import export as export_run
    from prerlkit.publish.export import vllm_rank

    done = export_run(
        run,
        output,
        base=base,
        rank=rank,
        stages=stages,
        checkpoint=checkpoint,
        overwrite=overwrite,
        trust=trust,
        report=report,
    )
    if done.reduction:
        echo(str(done.reduction))
    for check in done.checks:
        echo(f"loaded by {check}")
    allowed = vllm_rank(done.rank)
    if done.dora:
        typer.echo("vLLM takes no DoRA adapters: merge instead (`prerlkit merge`)")
    elif allowed:
        echo(f"vLLM: --enable-lora --max-lora-rank {allowed} --lora-modules policy={done.vllm}")
    else:
        echo(f"vLLM takes no adapter of rank {done.rank}: reduce it with --rank, or merge")
    for place in done.stages:
        echo(f"stage: {place}")
    echo(f"adapter of rank {done.rank}: {done.folder}")
