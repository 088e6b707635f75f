"""What probes found by layer (probes.jsonl), as charts over the layers of the model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prerlkit.page.chart import Chart, ChartLine
from prerlkit.runs.run import Run

ByLayer = Mapping[int, float]
Read = Callable[[Mapping[str, Any]], ByLayer]
"""Numbers by layer in a line of probes.jsonl; empty where it has none."""

SIGNS = ("all", "positive", "negative")
_MOST = 4
"""Measurements of one run in a chart: the first, the last, and some between."""


def layers(runs: Sequence[Run], names: Sequence[str]) -> tuple[Chart, ...]:
    """Charts over layers, as far as the runs had the probes `alignment` and `drift`. Layers count from 0."""
    several = len(runs) > 1
    lines = [[_without_tokens(line) for line in run.probe_lines()] for run in runs]
    last = "The last measurement of each run." if several else "At the first and the last measurement, and between."
    wanted = (
        ("alignment", "Gradient alignment by layer", f"Cosine, all completions. {last}", _aligned("all")),
        ("norm", "Adapter norm by layer", f"Frobenius norm of what the adapter adds to the layer. {last}", _norms),
        ("rank", "Effective rank by layer", f"Mean over the layer's modules. {last}", _ranks),
    )
    charts = [
        Chart(f"layer-{word}", title, _of_runs(lines, names, read), note=note, x_label="layer")
        for word, title, note, read in wanted
    ]
    if not several:
        note = "Cosine, by the sign of the advantage; the mean over all measurements."
        title = "Gradient alignment by layer and sign"
        charts.insert(1, Chart("layer-signs", title, _by_sign(lines[0]), note=note, x_label="layer"))
    return tuple(chart for chart in charts if chart.lines)


def _without_tokens(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is charted of a line: the tokens of its completions are most of it, and would all stay in memory."""
    return {name: value for name, value in line.items() if name != "change"}


def _of_runs(runs: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str], read: Read) -> tuple[ChartLine, ...]:
    """Of one run some of its measurements, of several the last one of each."""
    found = []
    for n, (lines, name) in enumerate(zip(runs, names, strict=True)):
        measured = [(line.get("step"), values) for line in lines if (values := read(line))]
        if len(runs) > 1:
            found += [_line(name, values, n, name) for _, values in measured[-1:]]
        else:
            found += [_line(f"step {step}", values, at, "") for at, (step, values) in enumerate(_spread(measured))]
    return tuple(found)


def _spread(measured: Sequence[tuple[Any, ByLayer]]) -> list[tuple[Any, ByLayer]]:
    """At most `_MOST` of them, evenly, the first and the last among them."""
    most = min(_MOST, len(measured))
    places = sorted({round(n * (len(measured) - 1) / max(1, most - 1)) for n in range(most)})
    return [measured[place] for place in places]


def _by_sign(lines: Sequence[Mapping[str, Any]]) -> tuple[ChartLine, ...]:
    found = []
    for n, sign in enumerate(SIGNS):
        values: dict[int, list[float]] = {}
        for line in lines:
            for layer, value in _aligned(sign)(line).items():
                values.setdefault(layer, []).append(value)
        if values:
            found.append(_line(sign, {layer: sum(own) / len(own) for layer, own in values.items()}, n, ""))
    return tuple(found)


def _line(name: str, values: ByLayer, color: int, group: str) -> ChartLine:
    at = sorted(values)
    return ChartLine(name, at, [values[layer] for layer in at], color=color, group=group)


def _aligned(sign: str) -> Read:
    def read(line: Mapping[str, Any]) -> ByLayer:
        found = ((line.get("alignment") or {}).get("by_layer") or {}).get(sign) or {}
        return {
            n: value for name, value in found.items() if value is not None and (n := layer_number(name)) is not None
        }

    return read


def _norms(line: Mapping[str, Any]) -> ByLayer:
    return {layer: math.hypot(*own) for layer, own in _modules(line, "norm").items()}


def _ranks(line: Mapping[str, Any]) -> ByLayer:
    return {layer: sum(own) / len(own) for layer, own in _modules(line, "effective_rank").items()}


def _modules(line: Mapping[str, Any], what: str) -> dict[int, list[float]]:
    """A number of each module in the layer; what is outside of layers is left out."""
    found: dict[int, list[float]] = {}
    for name, numbers in ((line.get("drift") or {}).get("by_module") or {}).items():
        layer, value = layer_number(name), numbers.get(what)
        if layer is not None and value is not None:
            found.setdefault(layer, []).append(value)
    return found


def layer_number(name: str) -> int | None:
    """3 of `model.layers.3` and of `model.layers.3.mlp.up_proj`; None outside of layers."""
    found = re.search(r"\.(\d+)(?=\.|$)", name)
    return int(found[1]) if found else None
