"""Several verifiers, one reward: means, products and gates worked out by hand; unjudged wins over all of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from prerlkit.types import Verdict
from prerlkit.verify.combine import Combination, labels_of

RIGHT, WRONG = Verdict.of(True), Verdict.of(False, "another answer")
HALF = Verdict(0.5, False, "meh", {"parts": 2})
UNKNOWN = Verdict.unjudged("no idea")


def combine(*verdicts: Verdict, weights=None, gates=(), reward="weighted") -> Verdict:
    n = len(verdicts)
    labels = tuple("abcdef"[:n])
    return Combination(labels, weights or (1.0,) * n, tuple(i in gates for i in range(n)), reward).combine(verdicts)


def test_a_single_verdict_stays_as_it_is():
    assert combine(HALF, weights=(7.0,)) is HALF


@pytest.mark.parametrize(
    ("verdicts", "options", "score", "passed"),
    [
        ((HALF, RIGHT), {"weights": (3.0, 1.0)}, (3 * 0.5 + 1) / 4, False),
        ((HALF, HALF, RIGHT), {"reward": "product"}, 0.25, False),
        ((RIGHT, WRONG), {"reward": "product"}, 0.0, False),
        ((RIGHT, HALF), {"gates": (0,)}, 0.5, False),  # an open gate leaves the rest as it is
        ((WRONG, RIGHT), {"gates": (0,)}, 0.0, False),  # a closed one leaves nothing
        ((HALF, RIGHT), {"gates": (0,)}, 0.0, False),  # half a score that didn't pass is a closed gate
        ((Verdict(0.5, True), RIGHT), {"gates": (0,)}, 1.0, True),  # a gate's own score is not counted
        ((RIGHT, HALF, HALF), {"gates": (0,), "reward": "product"}, 0.25, False),
        ((RIGHT, RIGHT), {"gates": (0, 1)}, 1.0, True),
        ((RIGHT, WRONG), {"gates": (0, 1)}, 0.0, False),
        ((Verdict(0.5, True),), {"gates": (0,)}, 1.0, True),
    ],
)
def test_scores_by_hand(verdicts, options, score, passed):
    verdict = combine(*verdicts, **options)
    assert (verdict.score, verdict.passed) == (pytest.approx(score), passed)


@pytest.mark.parametrize("options", [{}, {"reward": "product"}, {"gates": (0,)}, {"gates": (1,)}])
def test_unjudged_stays_unjudged_whatever_the_others_say(options):
    verdict = combine(WRONG, UNKNOWN, **options)
    assert (verdict.score, verdict.passed, verdict.reason) == (None, None, "b: no idea")
    assert verdict.details["a"]["score"] == 0.0


def test_each_ones_own_verdict_is_kept():
    verdict = combine(HALF, WRONG, reward="product")
    assert verdict.reason == "a: meh; b: another answer"
    assert verdict.details["a"] == {"score": 0.5, "passed": False, "reason": "meh", "parts": 2}


def test_labels_name_each_use_once_and_leave_the_common_metrics_alone():
    names = ["math", "regex", "math", "lib/short.py", "lib/rewards.py:polite", "package.module:Rhyme", "mean", "regex"]
    uses = [SimpleNamespace(name=name) for name in names]
    assert labels_of(uses) == ("math", "regex", "math#2", "short", "polite", "Rhyme", "mean#2", "regex#2")
