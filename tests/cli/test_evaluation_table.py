"""The table at a run's end has a column for each figure that its evaluations measured, and none without figures."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from prerlkit.cli.render.tables import effect_table, evaluation_table, natural_width
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.result import EvalResult
from prerlkit.evaluation.stage_effect import BeforeAfter, StageEffect


def table(*results: EvalResult) -> dict[str, list[str]]:
    return {str(column.header): list(column.cells) for column in evaluation_table(results).columns}


def result(step, *, greedy=None, average=None):
    figures = {"accuracy": greedy, "average": average}
    return EvalResult(
        name=f"step {step}",
        step=step,
        prompts=10,
        seconds=1.0,
        samples=16 if average else 0,
        **{key: Estimate(value, value - 0.1, value + 0.1) if value else None for key, value in figures.items()},
    )


def test_samples_alone_show_their_average_and_its_change():
    shown = table(result(0, average=0.25), result(9, average=0.6))
    assert "greedy accuracy" not in shown
    assert shown["avg@16"][1].startswith("60.0 %")
    assert shown["change"] == ["", "+35.0 points"]


def test_with_both_the_change_is_that_of_greedy_accuracy():
    shown = table(result(0, greedy=0.5, average=0.3), result(9, greedy=0.4, average=0.6))
    assert list(shown) == ["evaluation", "step", "greedy accuracy", "change", "avg@16", "length"]
    assert shown["change"] == ["", "-10.0 points"]


def test_greedy_answers_alone_show_no_average():
    assert list(table(result(0, greedy=0.5))) == ["evaluation", "step", "greedy accuracy", "change", "length"]


def printed(table, width):
    out = io.StringIO()
    Console(width=width, file=out).print(table)
    return out.getvalue()


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (160, ["evaluation", "step", "avg@16", "change", "pass@4", "pass@16", "length"]),
        (100, ["evaluation", "step", "avg@16", "change", "pass@4", "pass@16", "length"]),
        (60, ["evaluation", "avg@16", "change"]),
    ],
)
def test_a_narrow_terminal_has_the_most_important_columns_whole(width, headings):
    half = Estimate(0.5, 0.40, 0.6)
    passes = {1: half, 4: half, 16: half}
    results = [replace(result(step, average=0.25), name="after warmup", pass_at=passes) for step in (0, 100)]
    made = evaluation_table(results, width)
    assert [str(column.header) for column in made.columns][: len(headings)] == headings
    assert natural_width(made) <= width
    text = printed(made, width)
    assert "…" not in text
    for word in ("after warmup", "[15.0, 35.0]", "+0.0 points"):
        assert word in text


@pytest.mark.parametrize("width", [60, 100, 160])
def test_a_table_of_stages_that_is_too_wide_is_turned(width):
    shares = {f"eval/{name}": BeforeAfter(0.238, 0.189) for name in ("average", "pass@16", "sample_tokens_mean")}
    changes = {f"eval/thoughts/{kind}": BeforeAfter(0.059, 0.4) for kind in ("reflection", "transition")}
    effects = [StageEffect(name, 35, 0.581, samples=16, changes=changes | shares) for name in ("warmup", "rl")]
    text = printed(effect_table(effects, width), width)
    assert "…" not in text
    first = next(line for line in text.splitlines() if "warmup" in line)
    assert ("rl" in first) is (width < 160)
    assert ("×6.8 (0.059 → 0.4 per answer)" in text) is (width > 60)
