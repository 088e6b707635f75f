"""`prerlkit verifiers`: see what there is, start a plugin, try one on its gold cases or on rows, attack a reward."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.completion import verifier_names
from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Overrides, RecipeName, Trust
from prerlkit.cli.visible import echo

if TYPE_CHECKING:
    from prerlkit.recipe.schema import VerifierConfig
    from prerlkit.trust import ForeignCode

verifiers = typer.Typer(no_args_is_help=True, help="List, show, start, test and audit verifiers.")

Name = Annotated[
    str,
    typer.Argument(
        help="A verifier's name, path/to/file.py:Class, or path/to/file.py:function.",
        metavar="NAME",
        autocompletion=verifier_names,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


@verifiers.command("list")
@guarded
def list_(trust: Trust = False) -> None:
    """All verifiers within reach: built in, installed, or in verifiers/ here; broken ones with their error."""
    from rich.table import Table

    from prerlkit.cli.render.console import wide_console
    from prerlkit.trust import untrusted
    from prerlkit.verify.describe import summary
    from prerlkit.verify.registry import FoundVerifier, known

    table = Table("verifier", "what it does", "where it comes from")
    broken = []
    for found in known(Path(), lambda name: trust or not untrusted(_here(name), Path())).values():
        if isinstance(found, FoundVerifier):
            table.add_row(found.name, summary(found.verifier), found.origin)
        else:
            broken.append(found)
    console = wide_console()
    console.print(table)
    for found in broken:
        console.print(f"broken: {found.name} ({found.origin})\n  {found.error}", markup=False, soft_wrap=True)


def _here(name: str) -> tuple[ForeignCode, ...]:
    """The code of verifiers/ here that a bare name would run. A path or module is allowed by naming it."""
    from prerlkit.recipe.schema import VerifierConfig
    from prerlkit.trust import of_verifiers

    found = of_verifiers([VerifierConfig(name=name)], Path()) if name.isidentifier() else ()
    return tuple(code for code in found if not code.sends)  # an address is given on this command line, not by a recipe


@verifiers.command()
@guarded
def show(name: Name, trust: Trust = False) -> None:
    """What a verifier does, its settings with types and defaults, and how many gold cases it has."""
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.verifiers import print_description
    from prerlkit.trust import require
    from prerlkit.verify.describe import describe
    from prerlkit.verify.registry import find, source_file

    require(_here(name), Path(), trust)
    verifier = find(name, Path())
    print_description(wide_console(), verifier.name, source_file(verifier), describe(verifier))


@verifiers.command()
@guarded
def new(
    name: Annotated[str, typer.Argument(help="The verifier's name: lower case letters, digits and _.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to write it; a folder of its name here.")
    ] = None,
) -> None:
    """Start a plugin: a package with a verifier, gold cases and a test, which installs and passes as it stands."""
    from prerlkit.verify.scaffold import scaffold

    where = folder or Path(name)
    for path in scaffold(name, where):
        echo(path)
    echo(f"\nEdit {where / f'prerlkit_{name}' / f'{name}.py'}, then:")
    echo(f"  pip install -e {where} && prerlkit verifiers test {name}")


@verifiers.command("test")
@guarded
def check(
    name: Name,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="A setting. Repeatable.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", metavar="FILE.jsonl", help="Judge these rows instead of the gold cases.")
    ] = None,
    as_json: AsJson = False,
    answer: Annotated[str, typer.Option("--answer", metavar="COLUMN", help="Column of the gold answer.")] = "answer",
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds for one verdict of a row.")] = 5.0,
    environment: Annotated[
        list[str] | None,
        typer.Option(
            "--environment", metavar="NAME", help="A variable that the verifier gets, such as a service's key."
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Run a verifier's gold cases and time them; exit code 1 when one comes out otherwise than it says.

    With --rows: a row a line, with `completion` and the columns that the verifier reads; it is judged as in a run, in
    worker processes with limits. With --json too: a verdict a line in the same order: score, passed, reason.
    """
    from prerlkit.recipe.overrides import apply
    from prerlkit.recipe.schema import VerifierConfig
    from prerlkit.trust import require

    settings = apply({}, overrides or [])
    require(_here(name), Path(), trust)
    if rows is not None:
        use = VerifierConfig(name=name, settings=settings, timeout=timeout, environment=tuple(environment or ()))
        _judge_rows(use, rows, as_json, answer)
        return
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.verifiers import print_cases
    from prerlkit.verify.gold import explain, missing, run_cases
    from prerlkit.verify.registry import find

    verifier = find(name, Path())
    results = run_cases(verifier, settings, {key: os.environ[key] for key in environment or () if key in os.environ})
    wrong = missing(verifier) + [explain(verifier, result) for result in results if not result.right]
    if as_json:
        milliseconds = [1000 * result.seconds for result in results]
        echo(json.dumps({"cases": len(results), "failures": wrong, "milliseconds": milliseconds}))
    else:
        print_cases(wide_console(), verifier.name, results, wrong)
    if wrong:
        raise typer.Exit(1)


def _judge_rows(use: VerifierConfig, rows: Path, as_json: bool, answer: str) -> None:
    from prerlkit.audit import rows as audit_rows
    from prerlkit.verify.gold import outcome

    samples = audit_rows.read(rows, answer)
    for number, verdict in enumerate(audit_rows.judge(use, samples, Path()), 1):
        if as_json:
            echo(json.dumps(audit_rows.to_json(verdict)))
        else:
            score = "     " if verdict.score is None else f"{verdict.score:.3f}"
            echo(f"{number:>6}  {outcome(verdict):8}  {score}  {json.dumps(verdict.reason)[1:-1]}".rstrip())


@verifiers.command()
@guarded
def audit(
    recipe: RecipeName,
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option("--rows", min=2, help="How many rows of the recipe's train data to use.")] = 64,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, max=1.0, help="Largest mean score that an attack may get.")
    ] = 0.0,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Try to be rewarded by a recipe without solving its tasks; exit code 1 when an attack scores above the threshold.

    For math it also shows the answers on which math-verify alone judges otherwise. Needs the data, but no model.
    """
    from prerlkit.audit.audit import audit as audit_recipe
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.verifiers import print_audit
    from prerlkit.recipe.load import load
    from prerlkit.train.validate import check_settings
    from prerlkit.trust import of_recipe, require

    loaded = load(recipe, overrides or [])
    require(of_recipe(loaded.recipe, loaded.folder), loaded.folder, trust)
    check_settings(loaded.recipe, loaded.folder)
    result = audit_recipe(loaded.recipe, loaded.folder, rows)
    over = result.over(threshold)
    if as_json:
        echo(json.dumps({**result.to_json(), "threshold": threshold, "over": over}))
    else:
        print_audit(wide_console(), result, threshold)
    if over:
        raise typer.Exit(1)
