"""The list of commands, with the help and version that they share."""

from __future__ import annotations

from typing import Annotated

import typer

import prerlkit
from prerlkit.cli.compare import compare
from prerlkit.cli.doctor import doctor
from prerlkit.cli.dose import dose
from prerlkit.cli.eval import evaluate
from prerlkit.cli.export import export
from prerlkit.cli.help import improve
from prerlkit.cli.merge import merge
from prerlkit.cli.plan import plan
from prerlkit.cli.push import push
from prerlkit.cli.recipes import recipes
from prerlkit.cli.report import report
from prerlkit.cli.resume import resume
from prerlkit.cli.run import run
from prerlkit.cli.sweep import sweep
from prerlkit.cli.verifiers import verifiers
from prerlkit.cli.verify_resume import verify_resume
from prerlkit.cli.visible import echo

app = typer.Typer(
    name="prerlkit",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First time here? [bold]prerlkit run reach_dsrl[/bold] shows on a laptop what it does, in two minutes; "
    "[bold]prerlkit run quickstart_dsrl[/bold] trains a language model, in three to eight minutes.",
)


def _version(wanted: bool) -> None:
    if wanted:
        echo(f"prerlkit {prerlkit.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Train LoRA adapters by reinforcement learning with verifiable rewards, on one consumer GPU or none.

    A recipe is one YAML file: model, data, verifiers, and stages such as NSR-PreRL followed by GRPO (DSRL).
    """


app.command()(compare)
app.command()(doctor)
app.command("eval")(evaluate)
for command in (dose, export, merge, plan, push, report, resume, run, sweep, verify_resume):
    app.command()(command)
app.add_typer(recipes, name="recipes")
app.add_typer(verifiers, name="verifiers")
improve(app, recipes, verifiers)
