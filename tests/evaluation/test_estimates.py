"""pass@k, maj@k, intervals and paired differences against numbers worked out by hand; unjudged is never wrong."""

from __future__ import annotations

import pytest

from prerlkit.evaluation import estimates, thoughts
from prerlkit.evaluation.attempts import Attempt, Problem, found, from_groups
from prerlkit.evaluation.majority import majority_at_k
from prerlkit.types import Completion, Group, Prompt, Verdict


def problem(name: str, marks: str, answers: list[str | None] | None = None) -> Problem:
    """`marks`: p passed, f failed, u unjudged."""
    passed = {"p": True, "f": False, "u": None}
    answers = answers or [None] * len(marks)
    return Problem(name, tuple(Attempt(passed[m], 3, False, "", a) for m, a in zip(marks, answers, strict=True)))


def test_pass_at_k_over_problems():
    problems = [problem("a", "pfff"), problem("b", "ppff"), problem("c", "ffff")]
    assert estimates.pass_values(problems, 1) == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.0})
    # 1 − C(3,2)/C(4,2) = 1/2; 1 − C(2,2)/C(4,2) = 5/6; 0
    assert estimates.pass_values(problems, 2) == pytest.approx({"a": 0.5, "b": 5 / 6, "c": 0.0})
    assert estimates.mean(estimates.pass_values(problems, 2)).value == pytest.approx((0.5 + 5 / 6) / 3)


def test_unjudged_attempts_leave_the_estimate_and_are_counted_beside_it():
    problems = [problem("a", "pu"), problem("b", "uu"), problem("c", "ff")]
    assert estimates.pass_values(problems, 1) == {"a": 1.0, "c": 0.0}
    assert estimates.pass_values(problems, 2) == {"c": 0.0}  # a has one judged attempt only
    assert estimates.share(problems, lambda attempt: attempt.passed is None) == pytest.approx(3 / 6)
    assert estimates.accuracy([problem("a", "u")]) is None
    assert estimates.mean({}) is None


def test_greedy_accuracy_has_wilsons_interval():
    estimate = estimates.accuracy([problem(str(i), "p" if i < 81 else "f") for i in range(263)])
    assert estimate.value == pytest.approx(81 / 263)
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I


@pytest.mark.parametrize(
    ("marks", "answers", "k", "expected"),
    [
        ("ppf", ["4", "4.0", "5"], 3, 1.0),  # the right class leads
        ("pff", ["4", "5", "5.0"], 3, 0.0),  # 5 and 5.0 are one class of two
        ("pff", ["4", "5", "6"], 3, 1 / 3),  # three classes tie
        ("pf", ["4", None], 2, 1.0),  # no answer, no vote
        ("ff", [None, None], 2, 0.0),
        ("pfpf", ["4", "5", "4", None], 2, 0.75),  # two blocks: a tie, and a lead
        ("puf", ["4", None, "5"], 2, 0.5),  # the unjudged one isn't there
    ],
)
def test_majority(marks, answers, k, expected):
    assert majority_at_k(problem("a", marks, answers).attempts, k) == pytest.approx(expected)


def test_majority_is_unknown_rather_than_wrong():
    assert majority_at_k(problem("a", "pp").attempts, 2) is None  # the verifier extracts no answers
    assert majority_at_k(problem("a", "pu", ["4", "4"]).attempts, 2) is None  # too few judged
    assert estimates.majority_values([problem("a", "pu", ["4", "4"])], 2) == {}


def test_majority_is_not_estimated_on_the_failed_problems_alone():
    """A verifier without answers: problems without a passed attempt must not be the whole estimate."""
    assert estimates.majority_values([problem("a", "pp"), problem("b", "ff")], 2) == {}
    assert estimates.majority_values([problem("a", "ff"), problem("b", "ff")], 2) == {"a": 0.0, "b": 0.0}


def test_paired_differences_have_a_narrower_interval_than_unpaired_ones():
    first = {str(i): float(i % 2) for i in range(400)}  # half the problems are hard
    second = {**first, **{str(i): 1.0 for i in range(0, 40, 2)}}  # twenty of those are solved now
    found = estimates.difference(first, second)
    assert found.estimate.value == pytest.approx(20 / 400)
    assert (found.problems, found.better, found.worse) == (400, 20, 0)
    # sd of the differences is √(0.05·0.95) = 0.218, so ± 1.96·0.218/20 = 0.0214
    assert (found.estimate.low, found.estimate.high) == pytest.approx((0.0286, 0.0714), abs=0.004)


def test_differences_take_the_problems_that_both_have():
    found = estimates.difference({"a": 0.0, "b": 1.0, "c": 1.0}, {"b": 0.0, "c": 1.0, "d": 1.0})
    assert (found.estimate.value, found.problems, found.better, found.worse) == (-0.5, 2, 0, 1)
    assert estimates.difference({"a": 1.0}, {"b": 1.0}) is None


def test_answers_are_found_in_the_details_of_one_or_several_verifiers():
    assert found(Verdict(1.0, True, "", {"answer": "4"})) == "4"
    assert found(Verdict(1.0, True, "", {"format": {"score": 1.0}, "math": {"answer": "4"}})) == "4"
    assert found(Verdict(1.0, True, "", {"answer": 4})) is None
    group = Group(
        Prompt("eval/0", "q", (1,)), (Completion((1, 2), "so 4", (0.0, 0.0), True),), (Verdict.unjudged("x"),)
    )
    assert from_groups([group]) == [Problem("eval/0", (Attempt(None, 2, True, "so 4", None),))]


def test_thoughts_are_counted_by_whole_phrases():
    text = (
        "First, let me look. Step 1: add. Wait, that’s not right. Alternatively, let me\ntry again. "
        "Let me double-check. But wait: awaiting waiters."
    )
    assert thoughts.count(text) == {"transition": 2, "reflection": 3, "verification": 1, "decomposition": 2}
    assert thoughts.count("") == dict.fromkeys(thoughts.KINDS, 0)
    assert thoughts.mean_counts(["wait", "fine"])["reflection"] == 0.5
