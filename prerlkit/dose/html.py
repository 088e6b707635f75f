"""A dose curve as one HTML file: the proposal, the table, and a chart of each figure over the steps."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

import prerlkit
from prerlkit.dose import words
from prerlkit.dose.curve import DoseCurve, DoseRow, Proposal, yaml_of
from prerlkit.evaluation.effect_words import THOUGHTS
from prerlkit.page.chart import Chart, ChartLine
from prerlkit.page.shell import Page, Section, table
from prerlkit.secrets import redact

_COLORS = 8


def page(name: str, curve: DoseCurve, proposal: Proposal) -> str:
    """Return the file's text.

    Args:
        name: of the recipe.
    """
    if proposal.row is None:
        lead = Markup('<p class="intro">No dose is proposed: {}.</p>').format(proposal.why)
    else:
        said = f"{proposal.row.rate:g}, {proposal.row.step} steps"
        lead = Markup('<p class="intro">Proposed: rate {} ({}).</p><pre>{}</pre>').format(
            said, proposal.why, yaml_of(curve, proposal.row)
        )
    head = words.head(curve)
    body = table(
        "held-out samples, after so many steps at a rate", head, words.rows(curve), numbers=range(1, len(head))
    )
    charts = (
        _chart(curve, "kl", "KL to the policy before the stage", lambda row: row.kl, unit="nats a token"),
        *(_chart(curve, kind, f"{kind} thoughts for each answer", _count(kind)) for kind in THOUGHTS),
        _accuracy(curve),
        _chart(curve, "tokens", "length of an answer", lambda row: row.tokens, unit="tokens"),
    )
    return Page(
        redact(f"Dose of stage {curve.stage}, {name}"),
        lead,
        (Section("doses", "Doses", body), Section("curves", "By step", charts=charts)),
        groups=tuple((f"{rate:g}", n % _COLORS) for n, rate in enumerate(_rates(curve))),
        footer=f"prerlkit {prerlkit.__version__} · intervals 95 %, bootstrap over prompts",
    ).render()


def _rates(curve: DoseCurve) -> list[float]:
    return sorted({row.rate for row in curve.rows})


def _count(kind: str) -> Callable[[DoseRow], float | None]:
    return lambda row: row.thoughts.get(kind)


def _of_rate(curve: DoseCurve, rate: float) -> list[DoseRow]:
    start = [] if curve.start is None else [curve.start]
    return [*start, *(row for row in curve.rows if row.rate == rate)]


def _chart(curve: DoseCurve, word: str, title: str, value: Callable[[DoseRow], float | None], unit: str = "") -> Chart:
    lines = []
    for number, rate in enumerate(_rates(curve)):
        own = [row for row in _of_rate(curve, rate) if value(row) is not None]
        label = f"{rate:g}"
        lines.append(
            ChartLine(
                label, [row.step for row in own], [value(row) for row in own], color=number % _COLORS, group=label
            )
        )
    return Chart(word, title, tuple(lines), unit=unit, floor=0.0)


def _accuracy(curve: DoseCurve) -> Chart:
    lines = []
    for number, rate in enumerate(_rates(curve)):
        own = _of_rate(curve, rate)
        bounds = ([row.low for row in own], [row.high for row in own])
        xs, ys, label = [row.step for row in own], [row.average for row in own], f"{rate:g}"
        lines.append(ChartLine(label, xs, ys, *bounds, color=number % _COLORS, group=label))
    return Chart("average", f"avg@{curve.samples}", tuple(lines), note="With 95 % intervals.", percent=True, floor=0.0)
