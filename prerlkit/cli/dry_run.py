"""`prerlkit run --dry-run`: what would happen, and what could not be checked without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from prerlkit.errors import PrerlkitError
from prerlkit.recipe.load import LoadedRecipe

if TYPE_CHECKING:
    from prerlkit.audit.samples import AuditRow
    from prerlkit.objective.choices import Objective
    from prerlkit.recipe.schema import Recipe, Stage, VerifierConfig


def print_plan(console: Console, loaded: LoadedRecipe, folder: Path) -> None:
    """Resolve and check all that needs no weights, and print it.

    Raises:
        UsageError: for what is wrong whatever the network says.
    """
    from prerlkit.policy import source
    from prerlkit.quiet import quiet_libraries
    from prerlkit.train.validate import check_settings, check_trackers

    quiet_libraries()
    recipe = loaded.recipe
    check_settings(recipe, loaded.folder)
    check_trackers(recipe)
    console.print(f"[bold]{recipe.name}[/bold]  {recipe.description}", soft_wrap=True)
    _line(console, "seed", str(recipe.seed))
    _line(console, "output", f"{folder}{' (exists)' if folder.exists() else ''}")
    for text in source.describe(recipe.model):
        _line(console, "model", text.removeprefix("model: "))
    quantization = "" if recipe.model.quantization == "none" else f", {recipe.model.quantization} weights"
    _line(console, "", f"{recipe.model.dtype}{quantization}, adapters {_adapter(recipe)}")
    unchecked = _print_data(console, loaded)
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
    console.print(_evaluation(recipe), soft_wrap=True)
    _print_memory(console, recipe)
    for text in unchecked:
        console.print(f"[yellow]not checked[/yellow]  {text}", soft_wrap=True)
    console.print("dry run: no weights were loaded, nothing was written")


def _print_memory(console: Console, recipe: Recipe) -> None:
    from prerlkit.cli.plan import print_memory
    from prerlkit.errors import UsageError
    from prerlkit.plan.config import find_config
    from prerlkit.plan.device import at_hand

    try:
        find_config(recipe.model)
    except UsageError:
        _line(console, "memory", "not known: the model's config.json is not on this machine")
        return
    print_memory(console, recipe, at_hand(recipe.model.device))


def _print_data(console: Console, loaded: LoadedRecipe) -> list[str]:
    """Start token and prompts where tokenizer and rows are within reach; gives what could not be checked."""
    from prerlkit.audit.gold import ROWS
    from prerlkit.audit.samples import from_data, from_prompts
    from prerlkit.data.prompts import build
    from prerlkit.data.sources import load_rows
    from prerlkit.policy import source
    from prerlkit.policy.tokens import read_tokens

    recipe = loaded.recipe
    here = source.cached_config(recipe.model)
    try:
        if here is None:
            rows = load_rows(recipe.data.train, folder=loaded.folder)
            _line(console, "data", f"{len(rows):,} train rows, before filters")
            _print_gold(console, loaded, from_data(recipe.data, loaded.folder, ROWS))
            return ["start token, prompt lengths and train/eval overlap: the model's tokenizer is not on this machine"]
        tokens = read_tokens(str(here), recipe.model)
        _line(console, "start token", f"{tokens.start} stands in front of y in P(y); {len(tokens.end_ids)} end tokens")
        prompts = build(
            recipe.data,
            tokenizer=tokens.tokenizer,
            max_prompt_tokens=recipe.rollout.max_prompt_tokens,
            long_prompts=recipe.rollout.long_prompts,
            seed=recipe.seed,
            folder=loaded.folder,
        )
        for note in prompts.notes:
            _line(console, "data", note)
        _print_gold(console, loaded, from_prompts(prompts, ROWS))
    except PrerlkitError as error:
        if error.exit_code == 2:
            raise
        missing = "" if here else ", and with them the start token: the model's tokenizer is not on this machine"
        return [f"prompts{missing}. {error.message}"]
    return []


def _print_gold(console: Console, loaded: LoadedRecipe, rows: list[AuditRow]) -> None:
    from prerlkit.audit.gold import try_gold

    for note in try_gold(loaded.recipe.verifiers, rows, loaded.folder):
        _line(console, "data", note)


def _line(console: Console, label: str, text: str) -> None:
    console.print(f"{label:<12} {text}", soft_wrap=True, markup=False)


def _share(recipe: Recipe, use: VerifierConfig) -> str:
    if use.gate:
        return "gate"
    return "factor" if recipe.reward == "product" else f"weight {use.weight:g}"


def _adapter(recipe: Recipe) -> str:
    adapter = recipe.adapter
    targets = adapter.targets if isinstance(adapter.targets, str) else ", ".join(adapter.targets)
    return f"LoRA r={adapter.rank} alpha={adapter.alpha:g} on {targets}"


def _stages(recipe: Recipe) -> Table:
    table = Table("stage", "takes over by", "objective", "steps", "learning rate", "prompts × samples", "new tokens ≤")
    for index, stage in enumerate(recipe.stages):
        rollout = stage.rollout
        samples = rollout.prompts_per_step * rollout.group_size
        table.add_row(
            stage.name,
            stage.reincarnation if index else "fresh",
            "\n".join(_words(o) for o in stage.objective),
            _steps(stage),
            f"{stage.learning_rate:g} {stage.schedule.kind}",
            f"{rollout.prompts_per_step} × {rollout.group_size}",
            f"{rollout.max_new_tokens} ({samples * rollout.max_new_tokens:,} a step)",
        )
    return table


def _steps(stage: Stage) -> str:
    if stage.until is None:
        return str(stage.steps)
    from prerlkit.train.early_stop import bound

    return f"≤ {stage.steps}, until {stage.until.metric} is {bound(stage.until)}"


def _words(objective: Objective) -> str:
    kinds = (objective.advantage.kind, objective.loss.kind, objective.aggregate.kind)
    weight = "" if objective.coefficient == 1.0 else f"{objective.coefficient:g} × "
    return f"{weight}{objective.space} · {objective.samples} · " + " · ".join(kinds)


def _evaluation(recipe: Recipe) -> str:
    evaluation = recipe.evaluation
    kinds = ["greedy"] if evaluation.greedy else []
    kinds += [f"{evaluation.samples} samples"] if evaluation.samples else []
    every = f", every {evaluation.every} steps" if evaluation.every else ""
    return f"evaluation   {', '.join(evaluation.when)}{every}: {evaluation.prompts} prompts, {' and '.join(kinds)}"
