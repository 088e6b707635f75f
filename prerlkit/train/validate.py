"""Checks of a recipe that need no model and no data, such as settings of verifiers and generators."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from prerlkit.data.generators import check as check_generator
from prerlkit.engines.registry import engine_of
from prerlkit.errors import UsageError
from prerlkit.install import pip_install
from prerlkit.objective.choices import FileAdvantage, FileLoss
from prerlkit.objective.plugins import advantage_function, loss_function
from prerlkit.plugins import is_file
from prerlkit.probes.registry import check_probes
from prerlkit.recipe.plugins import bind, plugin_files
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.sources import GeneratorSource
from prerlkit.trust import ForeignCode
from prerlkit.verify import registry


def check_settings(recipe: Recipe, folder: Path | None, untrusted: Sequence[ForeignCode] = ()) -> None:
    """Raise UsageError for a verifier or generator that doesn't exist or has wrong settings, a probe that can't be had,
    or a stage's rule on a metric that the run won't have.

    Args:
        folder: the recipe's folder, for plugins in it.
        untrusted: code that must not run, and whose settings therefore stay unchecked.
    """
    keys = {code.key for code in untrusted}
    for number, use in enumerate(recipe.verifiers):
        if keys & {f"verifiers[{number}].name", f"verifiers[{number}].settings.function"}:
            continue
        verifier = registry.make(use.name, use.settings, folder)
        if verifier.needs_answer and recipe.data.answer is None:
            raise UsageError(
                f'verifier "{use.name}" needs a gold answer, but data.answer is null: every sample would be unjudged',
                "Name the column that holds it: data.answer.",
            )
    bound = bind(recipe, folder)
    if not keys & set(plugin_files(recipe)):
        _check_plugins(bound)
    if recipe.memory.shard_base:
        _check_sharding(recipe)
    for source in (recipe.data.train, recipe.data.eval):
        if isinstance(source, GeneratorSource):
            check_generator(source.name, source.settings)


def _check_plugins(recipe: Recipe) -> None:
    """Check losses, advantages, engine, probes, and rules on their metrics."""
    _check_files(recipe)
    check_probes(recipe)
    if any(stage.until for stage in recipe.stages):
        from prerlkit.train.early_stop import check_until  # brings torch: a recipe without a rule is checked in a blink

        check_until(recipe)


def _check_files(recipe: Recipe) -> None:
    """Import what the recipe names as `file.py:Name`, and check its settings."""
    for number, stage in enumerate(recipe.stages):
        for place, objective in enumerate(stage.objective):
            key = f"stages[{number}].objective[{place}]"
            if isinstance(objective.loss, FileLoss):
                loss_function(objective.loss, f"{key}.loss")
            if isinstance(objective.advantage, FileAdvantage):
                advantage_function(objective.advantage, f"{key}.advantage")
    if is_file(recipe.rollout.engine):
        try:
            engine_of(recipe).check(recipe)
        except ValueError as error:
            raise UsageError(f"rollout.engine: {recipe.rollout.engine}: {error}") from error


LARGE_RANK = 64
"""Trained under GRPO, rank 64 fell from 73.1 % to 8.7 and 6.0 % with larger batches, and ranks 128 and 256 stayed near
the floor; rank 8 learned ("Structure Over Scale", ICML 2026 workshop, openreview.net/forum?id=XGZHI14m8P)."""


def warnings(recipe: Recipe) -> Sequence[str]:
    """Return lines on settings that are allowed and cost something a person should know."""
    lines = []
    for index, stage in enumerate(recipe.stages):
        if stage.rollout.top_p < 1.0 or stage.rollout.top_k:
            lines.append(
                f'stage "{stage.name}" samples with top_p/top_k: samples come from a cut distribution while '
                "log-probs are of the whole one, so its gradient is biased"
            )
        if stage.steps and stage.demonstrations is None and stage.adapter.rank >= LARGE_RANK:
            taken = index < recipe.on_ground
            lines.append(
                f'stage "{stage.name}" trains an adapter of rank {stage.adapter.rank}'
                + (", the sum of all that it was made from: stack a fresh one instead" if taken else "")
                + f'. Under GRPO ranks from {LARGE_RANK} collapsed where 8 learned ("Structure Over Scale", ICML 2026 '
                "workshop)"
            )
    return lines


def check_trackers(recipe: Recipe) -> None:
    """Raise UsageError for a tracker whose package isn't installed here."""
    for use in recipe.output.trackers:
        if importlib.util.find_spec(use.kind) is None:
            raise UsageError(
                f"output.trackers has {use.kind}, which is not installed here.",
                f"Install it: pip install {use.kind}, or all of them: {pip_install('track')}.",
            )


def check_processes(recipe: Recipe, processes: int) -> None:
    """Raise UsageError for a recipe that this many processes can't share."""
    if recipe.memory.shard_base and processes == 1:
        raise UsageError(
            "memory.shard_base shares the base out over several processes, and this run has one.",
            "Start it with `torchrun --nproc-per-node N -m prerlkit run …`, or leave shard_base out.",
        )
    engine_of(recipe).check_processes(recipe, processes)
    for stage in recipe.stages:
        if stage.rollout.prompts_per_step < processes:
            raise UsageError(
                f'stage "{stage.name}" has {stage.rollout.prompts_per_step} prompts a step for {processes} processes: '
                "some would have nothing to do.",
                f"Start {stage.rollout.prompts_per_step} processes at most, or set rollout.prompts_per_step higher.",
            )


def _check_sharding(recipe: Recipe) -> None:
    """Raise UsageError for what reads or writes a base's weights whole, where `memory.shard_base` shards it."""
    reasons = {
        "model.quantization: nf4 (bitsandbytes packs a layer's weight in a form that can't be cut)": (
            recipe.model.quantization == "nf4"
        ),
        "reincarnation: merge": any(stage.reincarnation == "merge" for stage in recipe.stages[1:]),
        "adapter.dora": any(stage.adapter.dora for stage in recipe.stages),
    }
    for reason in (reason for reason, there in reasons.items() if there):
        raise UsageError(f"memory.shard_base doesn't go with {reason}.", "Leave one of the two out.")
