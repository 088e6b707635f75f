"""Charts over layers, from what the probes themselves write."""

from __future__ import annotations

import json

import pytest

from prerlkit.report.build import build
from prerlkit.report.layers import layer_number, layers
from prerlkit.runs.run import Run


def line_of(step: int) -> dict:
    cosines = {f"model.layers.{n}": (None if n == 1 and step == 1 else 0.1 * n + 0.01 * step) for n in range(12)}
    modules = {
        f"model.layers.{n}.{name}": {"norm": size * step, "effective_rank": rank}
        for n in range(12)
        for name, size, rank in (("self_attn.q_proj", 3.0, 2.0), ("mlp.up_proj", 4.0, 4.0))
    }
    return {
        "step": step,
        "stage": "rl",
        "alignment": {"by_layer": {"all": cosines, "negative": {"model.layers.2": -0.5, "lm_head": 0.9}}},
        "drift": {"by_module": {**modules, "lm_head": {"norm": 100.0, "effective_rank": 9.0}}},
    }


def probed(folder, steps):
    (folder / "probes.jsonl").write_text("".join(json.dumps(line_of(step)) + "\n" for step in steps))
    return Run.open(folder)


def test_one_run_shows_some_of_its_measurements_and_signs(make_run):
    charts = {chart.id: chart for chart in layers([probed(make_run(), range(1, 30, 3))], ["made"])}
    assert list(charts) == ["layer-alignment", "layer-signs", "layer-norm", "layer-rank"]
    alignment = charts["layer-alignment"]
    assert [line.name for line in alignment.lines] == ["step 1", "step 10", "step 19", "step 28"]
    assert list(alignment.lines[0].x) == [0, *range(2, 12)]  # no gradient in layer 1
    assert alignment.lines[-1].y == pytest.approx([0.1 * n + 0.28 for n in range(12)])
    assert alignment.x_label == "layer"
    signs = {line.name: dict(zip(line.x, line.y, strict=True)) for line in charts["layer-signs"].lines}
    assert signs["negative"] == {2: pytest.approx(-0.5)}
    assert signs["all"][0] == pytest.approx(0.01 * sum(range(1, 30, 3)) / 10)
    assert charts["layer-norm"].lines[-1].y == pytest.approx([5.0 * 28] * 12)  # √(3² + 4²)
    assert charts["layer-rank"].lines[0].y == pytest.approx([3.0] * 12)


def test_several_runs_show_their_last_measurement(make_run):
    runs = [probed(make_run(seed=seed), [1, 2 + seed]) for seed in range(2)]
    norm = next(chart for chart in layers(runs, ["a", "b"]) if chart.id == "layer-norm")
    assert [(line.name, line.group, line.color, line.y[0]) for line in norm.lines] == [
        ("a", "a", 0, 10.0),
        ("b", "b", 1, 15.0),
    ]


def test_without_such_probes_there_is_no_such_chart(make_run):
    folder = make_run()
    assert layers([Run.open(folder)], ["made"]) == ()
    assert "by layer" not in build([folder]).render()
    probed(folder, [1])
    assert "Gradient alignment by layer and sign" in build([folder]).render()


def test_layers_by_whatever_the_model_calls_them():
    names = ["model.layers.3", "model.layers.11.mlp.up_proj", "transformer.h.0.attn", "lm_head"]
    assert [layer_number(name) for name in names] == [3, 11, 0, None]
