"""Who counts, who carries gradient, and by what each token is divided."""

import pytest

from prerlkit.objective.advantage import Counts, count, select, token_weight
from prerlkit.objective.choices import ConstantLength, Objective, SequenceMean, TokenMean
from prerlkit.objective.presets import PRESETS
from prerlkit.types import Completion, Group, Prompt, Verdict


def group(scores, lengths, truncated=()):
    completions = tuple(
        Completion(tuple(range(n)), "", (0.0,) * n, truncated=i in truncated) for i, n in enumerate(lengths)
    )
    verdicts = tuple(Verdict.unjudged("?") if s is None else Verdict.of(s == 1) for s in scores)
    return Group(Prompt("p", "", (1,)), completions, verdicts)


MIXED = group([1, 0, 0], [2, 3, 4])
ALL_WRONG = group([0, 0], [5, 6])


def objective(preset, **changes):
    return Objective.model_validate({**PRESETS[preset], **changes})


def test_negative_takes_wrong_samples_of_mixed_groups_only():
    chosen = select([MIXED, ALL_WRONG], objective("nsr-prerl"))
    assert [len(s.completion.token_ids) for s in chosen] == [3, 4]
    assert count(chosen) == Counts(tokens=7, sequences=2)


def test_constant_advantage_lets_all_wrong_groups_speak():
    chosen = select([ALL_WRONG], objective("nsr-prerl", advantage={"kind": "constant"}))
    assert count(chosen) == Counts(tokens=11, sequences=2)


def test_positive_takes_right_samples():
    assert count(select([MIXED, ALL_WRONG], objective("psr-rl"))) == Counts(tokens=2, sequences=1)


def test_all_counts_groups_without_signal_but_does_not_run_them():
    chosen = select([MIXED, ALL_WRONG], objective("grpo"))
    assert count(chosen) == Counts(tokens=20, sequences=5)
    assert [s.carries_gradient for s in chosen] == [True, True, True, False, False]


def test_signal_only_leaves_them_out_of_the_denominator():
    assert count(select([MIXED, ALL_WRONG], objective("grpo", signal_only=True))) == Counts(tokens=9, sequences=3)


def test_kl_makes_samples_without_advantage_carry_gradient():
    chosen = select([ALL_WRONG], objective("grpo", kl={"coefficient": 0.1}))
    assert all(s.carries_gradient for s in chosen)


def test_masked_truncation_keeps_the_baseline_and_leaves_the_denominator():
    cut = group([1, 0, 0], [2, 3, 4], truncated=(2,))
    chosen = select([cut], objective("grpo", advantage="group_mean", truncated="mask"))
    assert count(chosen) == Counts(tokens=5, sequences=2)
    assert [s.advantage for s in chosen] == pytest.approx([2 / 3, -1 / 3])  # over three, not two
    assert count(select([cut], objective("grpo"))) == Counts(tokens=9, sequences=3)


def test_unjudged_and_empty_completions_count_nowhere():
    odd = group([1, None, 0, 0], [2, 3, 0, 4])
    assert count(select([odd], objective("grpo"))) == Counts(tokens=6, sequences=2)


def test_weights_by_hand():
    counts = Counts(tokens=20, sequences=5)
    assert token_weight(TokenMean(), counts, 4, 16) == pytest.approx(1 / 20)
    assert token_weight(SequenceMean(), counts, 4, 16) == pytest.approx(1 / 20)  # 1/(5·4)
    assert token_weight(SequenceMean(), counts, 10, 16) == pytest.approx(1 / 50)
    assert token_weight(ConstantLength(), counts, 4, 16) == pytest.approx(1 / 80)
    assert token_weight(ConstantLength(length=10), counts, 4, 16) == pytest.approx(1 / 50)
