"""Advantages against hand-computed numbers."""

import pytest

from prerlkit.objective.advantage import advantages
from prerlkit.objective.choices import Constant, GroupMean, GroupStd, MaxRl, Rloo
from prerlkit.types import Verdict


def verdicts(*scores):
    return [Verdict.unjudged("?") if s is None else Verdict(s, s >= 0.5) for s in scores]


def test_group_mean_is_reward_minus_mean():
    assert advantages(verdicts(1.0, 0.0, 0.0, 0.0), GroupMean()) == pytest.approx((0.75, -0.25, -0.25, -0.25))


def test_group_std_divides_by_the_sample_std():
    # mean 1/4; sample variance (9/16 + 3·1/16)/3 = 1/4, std 1/2
    expected = (0.75 / 0.500001, -0.25 / 0.500001, -0.25 / 0.500001, -0.25 / 0.500001)
    assert advantages(verdicts(1.0, 0.0, 0.0, 0.0), GroupStd()) == pytest.approx(expected, abs=1e-12)


def test_max_rl_divides_by_the_mean():
    """1 of 4 right: mean 0.25, so 0.75/0.25 and −0.25/0.25."""
    assert advantages(verdicts(1.0, 0.0, 0.0, 0.0), MaxRl()) == pytest.approx((3.0, -1.0, -1.0, -1.0))
    assert advantages(verdicts(0.0, 0.0), MaxRl()) == (0.0, 0.0)
    assert advantages(verdicts(), MaxRl()) == ()


def test_a_virtual_maximum_makes_all_wrong_groups_negative_and_leaves_all_right_ones_at_zero():
    """1 of 8 right, with a virtual 1: mean 2/9, std of nine √(7/36). The figures 1.76 and −0.50 are the paper's."""
    choice = GroupStd(virtual_maximum=True, epsilon=1e-12)
    found = advantages(verdicts(1.0, *[0.0] * 7), choice)
    assert found == pytest.approx((7 / 9 / (7 / 36) ** 0.5, *[-2 / 9 / (7 / 36) ** 0.5] * 7))
    assert (round(found[0], 2), round(found[1], 2)) == (1.76, -0.5)
    assert advantages(verdicts(0.0, 0.0, 0.0), choice) == pytest.approx((-0.5, -0.5, -0.5))  # mean ¼, std ½
    assert advantages(verdicts(1.0, 1.0), choice) == (0.0, 0.0)


def test_rloo_subtracts_the_mean_of_the_others():
    assert advantages(verdicts(1.0, 0.0, 0.5), Rloo()) == pytest.approx((0.75, -0.75, 0.0))


def test_constant_is_plus_and_minus_by_pass_even_when_all_are_wrong():
    assert advantages(verdicts(0.0, 0.0), Constant()) == (-1.0, -1.0)
    assert advantages(verdicts(1.0, 0.0), Constant(positive=0.1)) == (0.1, -1.0)


@pytest.mark.parametrize("choice", [GroupMean(), GroupStd(), Rloo(), MaxRl()])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3])
def test_equal_rewards_give_exactly_zero(choice, reward):
    """Three times 0.1 has a mean that is not 0.1 in floating point; that must not become signal."""
    assert advantages(verdicts(reward, reward, reward), choice) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("choice", [GroupMean(), GroupStd(), Rloo(), MaxRl()])
def test_a_group_of_one_keeps_its_reward(choice):
    assert advantages(verdicts(1.0), choice) == (1.0,)


def test_unjudged_samples_leave_the_group_and_its_baseline():
    # Scored 0, the crash would make the mean 1/3 and push the right answer less than it should be.
    assert advantages(verdicts(1.0, None, 0.0), GroupMean()) == pytest.approx((0.5, None, -0.5))
    assert advantages(verdicts(None, None), GroupStd()) == (None, None)
    assert advantages(verdicts(None, 1.0), GroupMean()) == (None, 1.0)
