"""A comparison as one HTML file: the tables, and the curves of every metric on every axis."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

import prerlkit
from prerlkit.compare import words
from prerlkit.compare.comparison import Comparison, MetricComparison
from prerlkit.compare.curves import MeanCurve
from prerlkit.compare.effects import effect_table
from prerlkit.metrics.catalogue import COMPLETION_LENGTH, ENTROPY, PROBE, TRUNCATED, ZERO_SIGNAL
from prerlkit.page import shell
from prerlkit.page.chart import Chart, ChartLine
from prerlkit.page.shell import Page, Section, table
from prerlkit.secrets import redact

CURVES = (*(metric.name for metric in (ENTROPY, COMPLETION_LENGTH, ZERO_SIGNAL, TRUNCATED)), PROBE.of("*"))
"""Metrics that the page shows in addition to those of the text, where runs have them."""
_COLORS = 8
_OWN = "prerlkit.compare"


def page(found: Comparison) -> str:
    """The file's text."""
    labels = [own.label for own in found.groups]
    title = f"Comparison of {', '.join(labels) if len(labels) <= 3 else f'{len(labels)} groups'}"
    colors = {own.label: number % _COLORS for number, own in enumerate(found.groups)}
    sections = [
        Section("groups", "Groups", _groups(found)),
        *(_metric(one, found, colors) for one in found.metrics),
    ]
    if found.effects:
        head, effects = effect_table(found.effects)
        body = table("mean over seeds [95 %]", head, effects, numbers=range(2, len(head)))
        intro = "KL to the policy before the stage, nats a token; held-out figures after the stage against before it."
        sections.append(Section("stages", "What each stage did", body, intro=intro))
    if found.by_prompt:
        rows = [[one.group, words.by_prompt_text(one)] for one in found.by_prompt]
        body = table(f"minus {found.baseline}, prompt by prompt", ["group", "difference"], rows)
        sections.append(Section("prompts", "By prompt", body, intro="95 % intervals: bootstrap over prompts."))
    return Page(
        redact(title),
        shell.render(
            _OWN,
            "lead.html",
            notes=found.notes,
            warnings=found.warnings,
            incomparable=found.incomparable,
            points=_headline(found),
            caption=_caption(found),
        ),
        tuple(sections),
        groups=tuple((own.label, colors[own.label]) for own in found.groups if own.runs),
        footer=f"prerlkit {prerlkit.__version__} · intervals 95 %, Student's t over seeds",
    ).render()


def _caption(found: Comparison) -> str:
    """What the headline is of."""
    return f"{found.metrics[0].name}, {words.budget_text(found.metrics[0].budgets[0])}" if found.metrics else ""


def _headline(found: Comparison) -> Sequence[tuple[str, ...]]:
    """Return group, value and difference of the first metric at equal steps: what the page is opened for.

    There is no difference where groups are not comparable.
    """
    if not found.metrics:
        return ()
    first = found.metrics[0]
    at = first.budgets[0]
    rows = []
    for label, value in at.means.items():
        contrast = words.contrast_text(first.name, at.contrasts.get(label))
        difference = "baseline" if label == found.baseline else contrast
        shown = words.mean_text(first.name, value, at.between.get(label, 0))
        rows.append((label, shown) if found.incomparable else (label, shown, difference))
    return rows


def _groups(found: Comparison) -> Markup:
    rows = [list(row) for row in words.group_rows(found)]
    names = list(next(iter(found.costs.values())))
    costs = [[label, *(words.cost_text(name, own[name]) for name in names)] for label, own in found.costs.items()]
    return (
        table("runs of each group", ["group", "runs", "seeds", "left out"], rows, numbers=[1])
        + table("cost of a run, mean", ["group", *names], costs, numbers=range(1, len(names) + 1))
    )  # fmt: skip


def _metric(one: MetricComparison, found: Comparison, colors: dict[str, int]) -> Section:
    head = ["group", *map(words.budget_text, one.budgets)]
    numbers = range(1, len(head))
    labels = [own.label for own in found.groups if any(own.label in at.means for at in one.budgets)]
    means = [
        [label, *(words.mean_text(one.name, at.means.get(label), at.between.get(label, 0)) for at in one.budgets)]
        for label in labels
    ]
    body = table(f"{one.name}, mean over seeds [95 %]", head, means, numbers=numbers)
    contrasts = [
        [label, *(words.contrast_text(one.name, at.contrasts.get(label)) for at in one.budgets)]
        for label in labels
        if label != found.baseline
    ]
    if contrasts:
        body += table(f"{one.name}, minus {found.baseline}", head, contrasts, numbers=numbers)
    charts = tuple(_chart(one.name, curve, colors) for curve in one.curves if curve.lines)
    return Section(_word(one.name), one.name, body, charts)


def _chart(name: str, curve: MeanCurve, colors: dict[str, int]) -> Chart:
    lines = tuple(
        ChartLine(
            line.label, line.x, line.y, line.low, line.high, "line", colors[line.label], line.label, not line.joined
        )
        for line in curve.lines
    )
    return Chart(
        f"{_word(name)}-{curve.axis}",
        f"{name} by {words.AXIS_WORDS[curve.axis]}",
        lines,
        note="Mean over seeds with its 95 % interval, as far as all seeds of a group go.",
        x_label=words.AXIS_WORDS[curve.axis],
        percent=words.is_share(name),
    )


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
