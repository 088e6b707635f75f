"""`prerlkit eval`: how good a policy is, with intervals, and whether it is better than another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from prerlkit.cli import eval_options as options
from prerlkit.cli.guard import guarded
from prerlkit.errors import UsageError

if TYPE_CHECKING:
    from prerlkit.harness.plan import Plan
    from prerlkit.harness.settings import EvalSettings
    from prerlkit.harness.targets import Target
    from prerlkit.harness.task import Task


@guarded
def evaluate(
    targets: options.Targets = None,
    recipe: options.Recipe = None,
    overrides: options.Overrides = None,
    preset: options.Preset = None,
    data: options.Data = None,
    verifier: options.Verifier = None,
    prompt: options.Prompt = None,
    answer: options.Answer = None,
    answer_pattern: options.AnswerPattern = None,
    system: options.System = None,
    chat: options.Chat = None,
    problems: options.Problems = 0,
    samples: options.Samples = 0,
    pass_at: options.PassAt = "",
    majority_at: options.MajorityAt = "",
    greedy: options.Greedy = True,
    temperature: options.Temperature = 1.0,
    top_p: options.TopP = 1.0,
    top_k: options.TopK = 0,
    max_new_tokens: options.MaxNewTokens = None,
    max_sequences: options.MaxSequences = 64,
    seed: options.Seed = None,
    base: options.Base = None,
    with_base: options.WithBase = False,
    checkpoint: options.Checkpoint = False,
    dtype: options.Dtype = None,
    quantization: options.Quantization = None,
    device: options.Device = None,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    list_presets: options.ListPresets = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure policies: accuracy, avg@k, pass@k, maj@k with 95 % intervals, lengths, thoughts. Unjudged is not wrong.

    [bold]prerlkit eval runs/one --with-base[/bold]                    on the run's own eval set, against its base
    [bold]prerlkit eval runs/a runs/b -k 16[/bold]                     two runs, 16 samples, paired differences
    [bold]prerlkit eval user/model --preset math500 -k 4[/bold]        a benchmark from the Hub
    [bold]prerlkit eval runs/a/adapter --data rows.jsonl --verifier math[/bold]

    The same command again goes on where it stopped. Differences are with the first target, problem by problem.
    """
    given = dict(locals())  # every option by its name
    if list_presets:
        _print_presets()
        return
    if not targets:
        raise UsageError("What should be evaluated?", "Give a run folder, an adapter, a Hub id or a model folder.")
    if not verbose:
        from prerlkit.quiet import quiet_libraries

        quiet_libraries()
    _run(*_plan(given), output, overwrite, as_json)


def _plan(given: Mapping[str, Any]) -> Plan:
    """Targets, task and settings from the command line's options."""
    from prerlkit.harness.plan import plan

    def some(*names: str) -> dict[str, Any]:
        return {name: given[name] for name in names if given[name] is not None}

    return plan(
        given["targets"],
        {
            **some("recipe", "preset", "chat"),
            "overrides": tuple(given["overrides"] or ()),
            "data": _yaml(given["data"]),
            "verifier": _yaml(given["verifier"]),
            "changes": some("prompt", "answer", "answer_pattern", "system"),
        },
        {
            **some("greedy", "samples", "temperature", "top_p", "top_k", "max_new_tokens", "problems", "seed"),
            "pass_at": _numbers(given["pass_at"]),
            "majority_at": _numbers(given["majority_at"]),
            "max_sequences": given["max_sequences"],
        },
        model=some("dtype", "quantization", "device"),
        base=given["base"],
        with_base=given["with_base"],
        checkpoint=given["checkpoint"],
    )


def _run(
    targets: list[Target], task: Task, settings: EvalSettings, output: Path | None, overwrite: bool, as_json: bool
) -> None:
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.display import Display
    from prerlkit.cli.render.eval import print_results
    from prerlkit.harness.evaluate import evaluate as run_evaluation

    console, folder = wide_console(), output or Path("evals") / task.name
    try:
        with Display(console, quiet=as_json) as display:
            results = run_evaluation(
                targets,
                task,
                settings,
                folder,
                overwrite=overwrite,
                on_message=display.on_message,
                progress=display.progress,
                report=display.on_message,
            )
    except KeyboardInterrupt:
        typer.echo(f"stopped; what is judged is in {folder}. The same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(results.to_json(), indent=2))
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
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UsageError(f"{text} is not YAML: {str(error).splitlines()[0]}") from None


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(" ", "").split(",") if part)
    except ValueError:
        raise UsageError(f"{text} is not a list of numbers.", "For example --pass-at 1,4,16") from None
