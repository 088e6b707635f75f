"""What can be said of probes before anything is loaded: the names of their numbers, and what they don't go with."""

from __future__ import annotations

from prerlkit.errors import UsageError
from prerlkit.evaluation.thoughts import KINDS
from prerlkit.recipe.probes import DriftProbe, ExplorationProbe, ProbeChoice, ThoughtsProbe
from prerlkit.recipe.schema import Recipe

METRICS: dict[str, tuple[str, ...]] = {
    "alignment": (
        "probe/alignment",
        "probe/alignment/positive",
        "probe/alignment/negative",
        "probe/alignment/norm_ratio",
    ),
    "thoughts": tuple(f"probe/thoughts/{kind}{what}" for kind in KINDS for what in ("", "_per_1k", "_ratio")),
    "exploration": (
        "probe/exploration/answers",
        "probe/exploration/distinct_1",
        "probe/exploration/distinct_2",
        "probe/exploration/self_bleu",
        "probe/exploration/pass_at_1",
        "probe/exploration/pass_at_g",
        "probe/exploration/spread",
        "probe/exploration/entropy",
    ),
    "drift": (
        "probe/drift/kl",
        "probe/drift/kl_sequence",
        "probe/drift/norm",
        "probe/drift/effective_rank",
        "probe/drift/overlap_inputs",
        "probe/drift/overlap_inputs_max",
        "probe/drift/overlap_outputs",
        "probe/drift/overlap_outputs_max",
        "probe/drift/overlap_cosine",
    ),
    "change": tuple(
        f"probe/change/{space}{kind}"
        for space in ("conditional", "pretrain")
        for kind in ("", "/positive", "/negative")
    ),
}
"""Every number that a probe may give, by the probe's name; docs/probes.md defines them."""


def check_probes(recipe: Recipe) -> None:
    """Raise UsageError for a probe that this recipe's model can't be shown to."""
    for choice in recipe.probes:
        if recipe.memory.shard_base and _makes_passes(choice):
            raise UsageError(
                f'the probe "{choice.name}" makes passes through the model in one process, and memory.shard_base needs '
                "all processes for each pass.",
                f"Leave out one of the two{_cheaper(choice)}.",
            )
        if isinstance(choice, DriftProbe) and any(stage.adapter.dora for stage in recipe.stages):
            raise UsageError(
                'the probe "drift" reads an adapter as a product B·A, which DoRA isn\'t.',
                "Leave out the probe, or set adapter.dora: false.",
            )


def _makes_passes(choice: ProbeChoice) -> bool:
    match choice:
        case ThoughtsProbe():
            return False
        case ExplorationProbe():
            return choice.exact_entropy
        case _:
            return True


def _cheaper(choice: ProbeChoice) -> str:
    return ", or only exact_entropy" if isinstance(choice, ExplorationProbe) else ""
