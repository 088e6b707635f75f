"""The table at a run's end has a column for each figure that its evaluations measured, and none without figures."""

from __future__ import annotations

from prerlkit.cli.render.display import evaluation_table
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.result import EvalResult


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
