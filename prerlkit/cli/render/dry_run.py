"""How a dry run looks: what would happen, and what could not be checked without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from prerlkit.cli.visible import visible
from prerlkit.errors import UsageError
from prerlkit.policy import source
from prerlkit.recipe.load import LoadedRecipe
from prerlkit.recipe.plugins import bind, model_near
from prerlkit.train.dry_run import EVAL_PROMPTS, NOT_CHECKED, check_data
from prerlkit.trust import ForeignCode

if TYPE_CHECKING:
    from prerlkit.plan.device import Device
    from prerlkit.recipe.schema import Recipe, Stage, VerifierConfig


def print_dry_run(
    console: Console,
    loaded: LoadedRecipe,
    folder: Path,
    device: Callable[[], Device],
    untrusted: Sequence[ForeignCode] = (),
) -> None:
    """Print what a run of `loaded` in `folder` would be, with what `check_data` finds.

    Args:
        device: gives the one to plan for; asked where there is something to plan.
        untrusted: code that doesn't run.
    """
    recipe = loaded.recipe
    console.print(f"[bold]{recipe.name}[/bold]  {recipe.description}", soft_wrap=True)
    _line(console, "seed", str(recipe.seed))
    _line(console, "output", f"{folder}{' (exists)' if folder.exists() else ''}")
    for text in source.describe(model_near(recipe.model, loaded.folder)):
        _line(console, "model", text.removeprefix("model: "))
    quantization = "" if recipe.model.quantization == "none" else f", {recipe.model.quantization} weights"
    _line(console, "", f"{recipe.model.dtype}{quantization}, adapters {_adapter(recipe)}")
    unchecked, eval_prompts = [], None
    for label, text in check_data(loaded, untrusted):
        if label == NOT_CHECKED:
            unchecked.append(text)
        elif label == EVAL_PROMPTS:
            eval_prompts = int(text)
        else:
            _line(console, label, text)
    for use in recipe.verifiers:
        _line(
            console,
            "verifier",
            f"{use.name} {use.settings or ''} {_share(recipe, use)}, {use.timeout:g} s a verdict",
        )
    for probe in recipe.probes:
        settings = probe.model_dump(exclude={"name", "every"})
        _line(console, "probe", f"{probe.name} every {probe.every} steps {settings or ''}")
    console.print(_stages(recipe))
    console.print(_evaluation(recipe, eval_prompts), soft_wrap=True)
    needed = [code for code in untrusted if not code.key.startswith("verifiers[")]  # verifiers need no plan
    if needed:
        names = ", ".join(dict.fromkeys(code.name for code in needed))
        _line(console, "memory", f"not planned: the plan would run code that you have not allowed ({names})")
    else:
        _print_memory(console, bind(recipe, loaded.folder), device)
    for text in unchecked:
        console.print(f"[yellow]not checked[/yellow]  {text}", soft_wrap=True)
    console.print("dry run: no weights were loaded, nothing was written")


def _print_memory(console: Console, recipe: Recipe, device: Callable[[], Device]) -> None:
    from prerlkit.cli.render.plan import print_plan
    from prerlkit.plan.config import find_config
    from prerlkit.plan.fit import plan_and_advice

    try:
        where = find_config(recipe.model)
    except UsageError:
        _line(console, "memory", "not known: the model's config.json is not on this machine")
        return
    print_plan(console, recipe, *plan_and_advice(recipe, where, device()))


def _line(console: Console, label: str, text: str) -> None:
    """Print a finding. A bar precedes its further lines: text of the data can't look like another finding."""
    text = visible(text).replace("\n", f"\n{'':<12} | ")
    console.print(f"{label:<12} {text}", soft_wrap=True, markup=False, emoji=False)


def _share(recipe: Recipe, use: VerifierConfig) -> str:
    if use.gate:
        return "gate"
    return "factor" if recipe.reward == "product" else f"weight {use.weight:g}"


def _adapter(recipe: Recipe) -> str:
    adapter = recipe.adapter
    targets = adapter.targets if isinstance(adapter.targets, str) else ", ".join(adapter.targets)
    return f"LoRA r={adapter.rank} alpha={adapter.alpha:g} on {targets}"


def _stages(recipe: Recipe) -> Table:
    table = Table("stage", "reincarnation", "objective", "steps", "learning rate", "prompts × samples", "new tokens ≤")
    for index, stage in enumerate(recipe.stages):
        rollout = stage.rollout
        samples = rollout.prompts_per_step * rollout.group_size
        more = f", refill ≤ {rollout.refill}" if rollout.refill else ""
        more += f", replay ≤ {rollout.replayed}" if rollout.replay else ""
        table.add_row(
            stage.name,
            stage.reincarnation if index else "fresh",
            "\n".join(o.weighted(o.choices) for o in stage.objective),
            _steps(stage),
            f"{stage.learning_rate:g} {stage.schedule.kind}" if stage.learning_rate else "",
            f"{rollout.prompts_per_step} demonstrations"
            if stage.demonstrations
            else f"{rollout.prompts_per_step} × {rollout.group_size}" + more,
            "none"
            if stage.demonstrations
            else f"{rollout.max_new_tokens} ({(1 + rollout.refill) * samples * rollout.max_new_tokens:,} a step)",
        )
    return table


def _steps(stage: Stage) -> str:
    from prerlkit.train.early_stop import bound, rules

    if stage.source is not None:
        return f"taken from {stage.source}"
    words = " or ".join(f"{rule.metric} is {bound(rule)}" for rule in rules(stage))
    words = f"≤ {stage.steps}, until {words}" if words else str(stage.steps)
    return f"{words}, guarded" if stage.guard else words


def _evaluation(recipe: Recipe, rows: int | None) -> str:
    """Return the line about evaluations; `rows` is the number of eval prompts, None where it is not known."""
    evaluation = recipe.evaluation
    prompts = f"≤ {evaluation.prompts}" if rows is None else str(min(rows, evaluation.prompts))
    kinds = ["greedy"] if evaluation.greedy else []
    kinds += [f"{evaluation.samples} samples"] if evaluation.samples else []
    every = f", every {evaluation.every} steps" if evaluation.every else ""
    return f"evaluation   {', '.join(evaluation.when)}{every}: {prompts} prompts, {' and '.join(kinds)}"
