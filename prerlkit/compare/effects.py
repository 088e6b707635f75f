"""What the stages of groups of runs did, as means over seeds: KL, thoughts, pass rates and lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prerlkit.compare.groups import RunGroup
from prerlkit.evaluation.effect_words import THOUGHTS, most_pass_at
from prerlkit.evaluation.repetitions import POSITIVE, Bounds, Mean, mean
from prerlkit.evaluation.stage_effect import StageEffect
from prerlkit.metrics.catalogue import EVAL_ACCURACY, EVAL_AVERAGE, EVAL_LENGTH, EVAL_SAMPLE_LENGTH, EVAL_THOUGHTS

_POINTS = ", points"


@dataclass(frozen=True, slots=True)
class GroupEffect:
    """One stage of one group.

    Attributes:
        figures: by heading, the mean over the runs that have it: KL in nats a token, quotients after / before (`×`),
            and differences of shares in points.
    """

    group: str
    stage: str
    figures: Mapping[str, Mean]


def group_effects(groups: Sequence[RunGroup]) -> tuple[GroupEffect, ...]:
    """Return the effects of all finished stages, group by group, in the stages' order."""
    found = []
    for own in groups:
        by_stage: dict[str, dict[str, list[float]]] = {}
        for run in own.runs:
            for effect in run.effects:
                figures = by_stage.setdefault(effect.stage, {})
                for name, value in effect_figures(effect).items():
                    figures.setdefault(name, []).append(value)
        found += [
            GroupEffect(own.label, stage, {name: mean(values, _bounds(name)) for name, values in figures.items()})
            for stage, figures in by_stage.items()
        ]
    return tuple(found)


def _bounds(heading: str) -> Bounds:
    """Return the bounds of a figure: points are differences of shares, a KL and a quotient are never below 0."""
    return (-100.0, 100.0) if heading.endswith(_POINTS) else POSITIVE


def effect_figures(effect: StageEffect) -> dict[str, float]:
    """Return a stage's figures as one number each, by heading; what is unknown is left out."""
    figures = {"KL": effect.kl}
    for kind in THOUGHTS:
        figures[f"{kind} ×"] = effect.change(EVAL_THOUGHTS.of(kind)).ratio
    shares = {f"avg@{effect.samples or 'k'}": EVAL_AVERAGE.name, "greedy accuracy": EVAL_ACCURACY.name}
    if most := most_pass_at(effect):
        shares[most.removeprefix("eval/")] = most
    for heading, name in shares.items():
        difference = effect.change(name).difference
        figures[heading + _POINTS] = None if difference is None else 100 * difference
    length = effect.change(EVAL_SAMPLE_LENGTH.name).ratio
    figures["tokens ×"] = effect.change(EVAL_LENGTH.name).ratio if length is None else length
    return {name: value for name, value in figures.items() if value is not None}


def effect_table(effects: Sequence[GroupEffect]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of the table: group, stage, and each figure with its 95 % interval over seeds."""
    headings = list(dict.fromkeys(name for one in effects for name in one.figures))
    rows = [[one.group, one.stage, *(_text(one.figures.get(name)) for name in headings)] for one in effects]
    return ["group", "stage", *headings], rows


def _text(value: Mean | None) -> str:
    if value is None:
        return "–"
    return f"{value.value:.3g}" + (f" [{value.interval[0]:.3g}, {value.interval[1]:.3g}]" if value.interval else "")
