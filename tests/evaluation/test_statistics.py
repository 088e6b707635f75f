"""pass@k and the intervals against hand-computed values."""

import pytest

from prerlkit.evaluation.statistics import bootstrap_mean, pass_at_k, wilson


@pytest.mark.parametrize(
    ("samples", "passed", "k", "expected"),
    [
        (4, 0, 2, 0.0),
        (4, 1, 1, 0.25),
        (4, 1, 2, 0.5),  # 1 − C(3,2)/C(4,2) = 1 − 3/6
        (5, 2, 3, 0.9),  # 1 − C(3,3)/C(5,3) = 1 − 1/10
        (4, 3, 2, 1.0),
        (8, 8, 8, 1.0),
    ],
)
def test_pass_at_k(samples, passed, k, expected):
    assert pass_at_k(samples, passed, k) == pytest.approx(expected)


def test_pass_at_k_needs_k_samples():
    with pytest.raises(ValueError, match="at least 5"):
        pass_at_k(4, 1, 5)


def test_wilsons_interval_holds_the_share_where_all_or_none_passed():
    assert all(wilson(n, n)[1] == 1.0 and wilson(0, n)[0] == 0.0 for n in range(1, 300))


def test_wilson_against_published_values():
    # Newcombe 1998, table I, method 3: 81/263 and 0/20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_bootstrap_brackets_the_mean_and_shrinks_with_data():
    low, high = bootstrap_mean([0.0, 1.0] * 200)
    assert (low, high) == pytest.approx((0.45, 0.55), abs=0.01)  # ±1.96 · 0.5/√400
    assert bootstrap_mean([0.5]) == (0.5, 0.5)
