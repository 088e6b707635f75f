"""Whether a run learned, against a published example and hand-made evaluations."""

from pathlib import Path

import pytest

from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.statistics import wilson
from prerlkit.report.learned import change, evaluation_rows, learned, points
from prerlkit.runs.run import Run


def share(passed: int, n: int) -> Estimate:
    return Estimate(passed / n, *wilson(passed, n))


def run_of(*evaluations: dict) -> Run:
    return Run(Path("x"), {}, {}, {}, (), evaluations, "completed")


def evaluated(name: str, passed: int, n: int = 100, key: str = "accuracy") -> dict:
    one = share(passed, n)
    return {"name": name, "step": 1, "prompts": n, key: {"value": one.value, "low": one.low, "high": one.high}}


def test_the_interval_of_a_change_is_newcombes():
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 by method 10 (Newcombe 1998, table II a)."""
    found = change(share(48, 80), share(56, 70))
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)
    assert points(found) == "+20.0 points [+5.2, +33.4]"


def test_a_change_the_other_way_is_its_mirror_image():
    there, back = change(share(20, 80), share(60, 80)), change(share(60, 80), share(20, 80))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert points(back).startswith("−50.0 points [−")


@pytest.mark.parametrize(
    ("passed", "answer"),
    [((30, 70), "learned"), ((70, 30), "got worse"), ((30, 35), "no clear change"), ((30, 90, 33), "no clear change")],
)
def test_the_answer_is_from_the_first_evaluation_to_the_last(passed, answer):
    run = run_of(*(evaluated(f"e{n}", count) for n, count in enumerate(passed)))
    found = learned(run)
    assert found.answer == answer
    assert found.when == ("e0", f"e{len(passed) - 1}")


def test_without_two_evaluations_nothing_is_claimed():
    assert learned(run_of()).answer == "not evaluated"
    assert learned(run_of(evaluated("before", 30))).answer == "not known yet"
    assert learned(run_of({"name": "before", "accuracy": None, "average": None})).answer == "not evaluated"


def test_without_greedy_answers_the_samples_decide():
    found = learned(run_of(evaluated("before", 20, key="average"), evaluated("after", 80, key="average")))
    assert (found.answer, found.measure) == ("learned", "avg@k")


def test_the_table_has_only_the_measures_that_there_are():
    first = {**evaluated("before", 20), "pass_at": {"1": None, "4": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    head, rows = evaluation_rows(run_of(first, evaluated("after", 40)))
    assert head[3:6] == ["greedy accuracy", "change", "pass@4"]
    assert rows[0][4:6] == ["–", "50.0 % [40.0, 60.0]"]
    assert rows[1][4].startswith("+20.0 points")
    assert rows[1][5] == "–"
