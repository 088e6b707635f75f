"""`prerlkit eval`: how good a policy is, with intervals, and whether it is better than another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from prerlkit.cli.eval_options import SIGNATURE
from prerlkit.cli.guard import guarded
from prerlkit.cli.visible import echo
from prerlkit.errors import UsageError
from prerlkit.evaluation.request import EvalRequest

if TYPE_CHECKING:
    from prerlkit.evaluation.harness.plan import EvalPlan


@guarded
def evaluate(**given: Any) -> None:
    """Measure policies: accuracy, avg@k, pass@k, maj@k with 95 % intervals, lengths, thoughts. Unjudged is not wrong.

    [bold]prerlkit eval runs/one --with-base[/bold]
      on the run's own eval set, against its base
    [bold]prerlkit eval runs/a runs/b -k 16[/bold]
      two runs, 16 samples, paired differences
    [bold]prerlkit eval user/model --preset math500 -k 4[/bold]
      a benchmark from the Hub
    [bold]prerlkit eval runs/a/adapter --data rows.jsonl --verifier math[/bold]


    The same command again continues where it stopped. Differences are with the first target, problem by problem.
    """
    if given["list_presets"]:
        _print_presets()
        return
    if not given["targets"]:
        raise UsageError("What should be evaluated?", "Give a run folder, an adapter, a Hub id or a model folder.")
    if not given["verbose"]:
        from prerlkit.quiet import quiet_libraries

        quiet_libraries()
    from prerlkit.evaluation.harness.plan import plan

    _run(plan(given["targets"], _request(given)), given["output"], given["overwrite"], given["as_json"])


vars(evaluate)["__signature__"] = SIGNATURE  # typer reads the options from it


def _request(given: Mapping[str, Any]) -> EvalRequest:
    """Return the request that the command line's options make."""
    plain = {name: value for name, value in given.items() if name in EvalRequest.model_fields}
    return EvalRequest.of(
        {
            **plain,
            "overrides": tuple(given["overrides"] or ()),
            "data": _yaml(given["data"]),
            "verifier": _yaml(given["verifier"]),
            "pass_at": _numbers(given["pass_at"]),
            "majority_at": _numbers(given["majority_at"]),
        }
    )


def _run(plan: EvalPlan, output: Path | None, overwrite: bool, as_json: bool) -> None:
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.display import Display
    from prerlkit.cli.render.eval import print_results
    from prerlkit.evaluation.harness.evaluate import evaluate as run_evaluation

    console, folder = wide_console(), output or Path("evals") / plan.task.name
    try:
        with Display(console, quiet=as_json) as display:
            results = run_evaluation(plan, folder, display, overwrite=overwrite)
    except KeyboardInterrupt:
        echo(f"stopped; what is judged is in {folder}. The same command continues from there.", err=True)
        raise typer.Exit(130) from None
    if as_json:
        echo(json.dumps(results.to_json(), indent=2))
    else:
        print_results(console, results, folder)


def _print_presets() -> None:
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.eval import presets_table

    wide_console().print(presets_table())


def _yaml(text: str | None) -> Any:
    """`{…}` as the mapping it is; anything else as its text."""
    if text is None or not text.lstrip().startswith("{"):
        return text
    from prerlkit.recipe.yaml_text import WrongYamlError, read

    try:
        return read(text)
    except WrongYamlError as error:
        raise UsageError(f"{text[:200]} is not YAML: {error}") from None


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(" ", "").split(",") if part)
    except ValueError:
        raise UsageError(f"{text} is not a list of numbers.", "For example --pass-at 1,4,16") from None
