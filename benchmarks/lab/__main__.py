"""The command line of the laboratory: `python -m benchmarks.lab base` trains the packaged base model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_PACKAGED = Path("prerlkit/models/reach")


def _known(domain: str) -> str:
    """Return the name of a domain. Raises BadParameter for any other."""
    from benchmarks.lab.domains import DOMAINS

    if domain not in DOMAINS:
        raise typer.BadParameter(f"{domain} is none of {', '.join(DOMAINS)}")
    return domain


@app.callback()
def _laboratory() -> None:
    """The laboratory: its base model and the study on it."""


@app.command()
def base(
    output: Annotated[Path, typer.Option("-o", help="Folder to write the model to.")] = Path("runs/lab/base"),
    domain: Annotated[str, typer.Option(help="reach or paths.", callback=_known)] = "reach",
    size: Annotated[str, typer.Option(help="0.8m, 3m or 10m parameters.")] = "0.8m",
    architecture: Annotated[str, typer.Option(help="llama or qwen3.")] = "llama",
    seed: Annotated[int, typer.Option(help="Decides the weights' start and the texts.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Steps of 128 texts.")] = None,
    leak: Annotated[float | None, typer.Option(help="Share of slow texts under fast: latent reflection.")] = None,
    right: Annotated[float | None, typer.Option(help="Probability that an attempt is a right one.")] = None,
) -> None:
    """Train a base model from scratch, 15 to 40 minutes on one core; the defaults make the one of the domain."""
    from benchmarks.lab.base import DEFAULTS, make

    made = replace(DEFAULTS[domain], size=size, architecture=architecture, seed=seed)
    mixture = made.mixture
    mixture = replace(mixture, leak=mixture.leak if leak is None else leak)
    mixture = replace(mixture, right=mixture.right if right is None else right)
    made = replace(made, steps=steps or made.steps, mixture=mixture)
    print(f"SHA-256 of {output / 'model.safetensors'}: {make(output, made)}")
    score(output, domain)


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="A folder that `base` wrote.")] = _PACKAGED,
    domain: Annotated[str, typer.Option(help="That it was trained on.", callback=_known)] = "reach",
    problems: Annotated[int, typer.Option(help="Eval problems.")] = 128,
    samples: Annotated[int, typer.Option(help="Answers to each.")] = 16,
) -> None:
    """Measure a base model under both prompts, a minute on one core."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from benchmarks.lab.score import score as measure

    torch.set_num_threads(1)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    words = AutoTokenizer.from_pretrained(model)
    table = Table(title=f"{model}: {problems} problems × {samples} answers", title_justify="left")
    kinds = ("reflection", "transition", "verification")
    for column in ("prompt", f"avg@{samples}", f"pass@{samples}", "right steps", *kinds, "tokens"):
        table.add_column(column, justify="left" if column == "prompt" else "right")
    for mode in ("fast", "slow"):
        got = measure(loaded, words, mode, domain=domain, count=problems, samples=samples)
        shares = (f"{100 * share:.1f} %" for share in (got.average, got.solved, got.steps))
        table.add_row(mode, *shares, *(f"{got.thoughts[kind]:.3f}" for kind in kinds), f"{got.tokens:.1f}")
    Console().print(table)


@app.command()
def study(
    part: Annotated[str, typer.Argument(help="dose, tuning, main or axes.")],
    folder: Annotated[Path, typer.Option(help="For the run folders.")] = Path("runs/lab"),
    jobs: Annotated[int, typer.Option(help="Runs at once, one thread each.")] = 2,
    seeds: Annotated[int, typer.Option(help="Only the first so many seeds. 0: all.")] = 0,
) -> None:
    """Run a part of the study; what has a record is not run again, and the same command continues."""
    from benchmarks.lab.study import SEEDS, jobs_of, run

    if part == "axes":
        from benchmarks.lab import axes

        for name in axes.BASES:
            axes.make_base(name, folder / "bases")
        wanted = [job for job in axes.jobs_of(folder / "bases") if not seeds or job.seed < seeds]
    elif part in SEEDS:
        wanted = [job for job in jobs_of(part) if not seeds or job.seed in SEEDS[part][:seeds]]
    else:
        raise typer.BadParameter(f"{part} is none of {', '.join(SEEDS)}, axes")
    for place, done in enumerate(run(wanted, folder, jobs), 1):
        Console().print(f"{place}: {done.arm}, seed {done.seed}")


@app.command()
def tables() -> None:
    """Write the study's tables into docs/results.md, from benchmarks/lab/records."""
    from benchmarks.lab.tables import PAGE, generated

    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    app()
