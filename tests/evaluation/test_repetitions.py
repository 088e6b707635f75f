"""Few repetitions: quantiles against published tables, intervals and tests against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from prerlkit.evaluation.repetitions import (
    POSITIVE,
    SHARE,
    SHARE_DIFFERENCE,
    mean,
    paired,
    sign_flip_p,
    smallest_p,
    t_p,
    t_quantile,
    unpaired,
)


@pytest.mark.parametrize(
    ("freedom", "value"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (1000, 1.962)]
)
def test_t_quantiles_are_those_of_the_printed_table(freedom, value):
    assert t_quantile(freedom) == pytest.approx(value, abs=5e-4)


def test_one_degree_of_freedom_is_cauchy_and_has_a_closed_form():
    assert t_quantile(1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-9)
    assert t_p(1.0, 1) == pytest.approx(0.5, rel=1e-12)
    assert t_p(0.0, 5) == pytest.approx(1.0)


def test_mean_of_three_by_hand():
    found = mean([0.80, 0.85, 0.90])  # s = 0.05, s/√3 = 0.028868, t = 4.302653
    assert found.value == pytest.approx(0.85)
    assert found.interval == pytest.approx((0.85 - 0.124207, 0.85 + 0.124207), abs=1e-5)
    assert found.bootstrap is not None
    assert 0.80 <= found.bootstrap[0] < 0.85 < found.bootstrap[1] <= 0.90


@pytest.mark.parametrize(
    ("values", "interval"),
    [
        # mean 0.85, half 0.124207; on the logit scale log(0.85 / 0.15) ± 0.124207 / (0.85 · 0.15)
        ([0.80, 0.85, 0.90], (0.681447, 0.937542)),
        # mean 0.5, half 12.7062 · 0.1; on the logit scale 0 ± 1.27062 / 0.25
        ([0.4, 0.6], (1 / (1 + math.exp(5.082483)), 1 / (1 + math.exp(-5.082483)))),
        ([0.0, 0.0, 0.0], (0.0, 0.0)),
        ([1.0, 1.0], (1.0, 1.0)),
        ([0.3, 0.3], (0.3, 0.3)),
        ([0.5], None),
    ],
)
def test_the_interval_of_a_share_by_hand(values, interval):
    found = mean(values, SHARE).interval
    assert found == (interval if interval is None else pytest.approx(interval, abs=1e-6))


@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.02], [1.0, 0.98], [0.99, 1.0, 1.0], [0.0, 0.1, 0.0, 0.0, 0.0]]
)
def test_no_interval_of_a_share_passes_0_or_100_percent(values):
    """Where the plain one does."""
    plain, found = mean(values).interval, mean(values, SHARE)
    assert plain[0] < 0 or plain[1] > 1
    assert 0 <= found.interval[0] < found.value < found.interval[1] <= 1


def test_no_interval_of_a_difference_of_shares_passes_100_points():
    one = paired([0.9, 0.5], SHARE_DIFFERENCE)
    assert paired([0.9, 0.5]).interval[1] > 1
    assert -1 <= one.interval[0] < one.value < one.interval[1] <= 1
    assert paired([1.0, 1.0], SHARE_DIFFERENCE).interval == (1.0, 1.0)
    two = unpaired([0.0, 0.1], [0.8, 1.0], SHARE_DIFFERENCE)
    assert unpaired([0.0, 0.1], [0.8, 1.0]).interval[1] > 1
    assert -1 <= two.interval[0] < two.value < two.interval[1] <= 1
    assert two.p == unpaired([0.0, 0.1], [0.8, 1.0]).p


def test_what_is_never_negative_has_no_negative_interval():
    """exp(log 4 ± half / 4), half = 12.7062 · 3 / √2 · √2 / 2."""
    half = 12.706205 * 3
    assert mean([1.0, 7.0], POSITIVE).interval == pytest.approx((4 * math.exp(-half / 4), 4 * math.exp(half / 4)))
    assert mean([1.0, 7.0]).interval[0] < 0


def test_a_small_spread_gives_nearly_the_plain_interval_and_values_outside_their_bounds_exactly():
    values = [0.500, 0.501, 0.499]
    assert mean(values, SHARE).interval == pytest.approx(mean(values).interval, abs=1e-6)
    assert mean([-0.5, 0.5], SHARE).interval == mean([-0.5, 0.5]).interval


def test_one_repetition_has_no_interval_and_no_test():
    assert mean([0.5]).interval is None
    assert mean([0.5]).bootstrap is None
    one = paired([0.1])
    assert (one.value, one.interval, one.p, one.test, one.pairs) == (0.1, None, None, None, 1)
    assert unpaired([0.5], [0.4, 0.6]).interval is None


def test_sign_flips_by_hand():
    # Sums of ±1 ±2 ±3: 6 and −6 are as far from 0 as 6: 2 of 8.
    assert sign_flip_p([1, 2, 3]) == 0.25 == smallest_p(3)
    # 1 + 2 − 3 = 0: every assignment is at least as far.
    assert sign_flip_p([1, 2, -3]) == 1.0
    # |sum| = 4 of ±3 ±2 ±1: sums 6 4 2 0 and their negatives: ±6, ±4: 4 of 8.
    assert sign_flip_p([3, 2, -1]) == 0.5
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([0.1, 0.2, 0.3]) == 0.25  # 0.1 + 0.2 + 0.3 is not 0.6 in floating point


def test_no_p_goes_below_what_the_pairs_allow():
    for n in range(2, 8):
        assert paired([1.0 + i for i in range(n)]).p == smallest_p(n) == 2 ** -(n - 1)


def test_many_pairs_are_drawn_and_never_zero():
    found = paired([1.0] * 30)
    assert found.test == "sign flips, drawn"
    assert 0 < found.p < 1e-4
    assert paired([1.0, -1.0] * 15).p == 1.0


def test_welch_by_hand():
    # variances 1 and 4, n = 3 each: error² = 1/3 + 4/3 = 5/3; ν = (5/3)² / ((1/9)/2 + (16/9)/2) = 2.941176
    found = unpaired([1, 2, 3], [4, 6, 8])
    assert found.value == pytest.approx(4)
    half = t_quantile((25 / 9) / (17 / 18)) * math.sqrt(5 / 3)
    assert found.interval == pytest.approx((4 - half, 4 + half))
    assert 3.182 < t_quantile((25 / 9) / (17 / 18)) < 4.303
    assert found.p == pytest.approx(0.0547868, abs=1e-6)  # scipy 1.16: ttest_ind(equal_var=False)
    assert (found.test, found.pairs) == ("Welch", 0)
