"""What a handful of repetitions says: t intervals, paired differences and exact tests over runs that differ by seed.

With 3 to 10 seeds the bootstrap's interval is too narrow. Student's t is shown, with the bootstrap next to it in the
JSON. Where the values have bounds, as shares have, the t interval is made on a scale without bounds and mapped back.
The t quantiles come from mpmath's incomplete beta function: torch brings mpmath along, but not scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import mpmath
import numpy as np

from prerlkit.evaluation.statistics import bootstrap_mean

_EXACT = 18
"""Up to so many pairs every assignment of signs is counted (2^18); above, random ones are drawn."""
_DRAWS = 100_000

Interval = tuple[float, float]

Bounds = tuple[float, float]
"""The least and the greatest value that a quantity can have, which its interval stays within. The greatest may be
infinite."""

SHARE: Bounds = (0.0, 1.0)
SHARE_DIFFERENCE: Bounds = (-1.0, 1.0)
POSITIVE: Bounds = (0.0, math.inf)


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean over repetitions.

    Attributes:
        interval: 95 %, `t_interval`; None for a single repetition, which has no spread.
        bootstrap: 95 % percentile interval of the mean, resampling repetitions; too narrow for few of them.
        values: what it was made from, in the order of the seeds.
    """

    value: float
    interval: Interval | None
    bootstrap: Interval | None
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Contrast:
    """second − first.

    Attributes:
        test: `sign flips` (paired by seed, exact), `sign flips, drawn` (paired, more than 18 pairs), `Welch` (no seed
            in common), or None where one repetition of each leaves nothing to test.
        interval: 95 %: `t_interval` of the pairs' differences, or Welch's; within the bounds of the difference.
        p: two-sided.
        smallest_p: the test can't give less with so many pairs; None for Welch's.
        pairs: how many seeds both have; 0 when unpaired.
    """

    value: float
    interval: Interval | None
    bootstrap: Interval | None
    p: float | None
    smallest_p: float | None
    test: str | None
    pairs: int
    differences: tuple[float, ...]


def mean(values: Sequence[float], bounds: Bounds | None = None) -> Mean:
    """Return the mean of at least one value, with intervals where there are two."""
    several = len(values) > 1
    return Mean(
        sum(values) / len(values),
        t_interval(values, bounds) if several else None,
        bootstrap_mean(values) if several else None,
        tuple(values),
    )


def paired(differences: Sequence[float], bounds: Bounds | None = None) -> Contrast:
    """Return the contrast of repetitions that belong together two by two; at least one pair.

    Args:
        bounds: of a difference.
    """
    average, n = mean(differences, bounds), len(differences)
    several = n > 1
    return Contrast(
        average.value,
        average.interval,
        average.bootstrap,
        sign_flip_p(differences) if several else None,
        smallest_p(n) if several else None,
        ("sign flips" if n <= _EXACT else "sign flips, drawn") if several else None,
        n,
        tuple(differences),
    )


def unpaired(first: Sequence[float], second: Sequence[float], bounds: Bounds | None = None) -> Contrast:
    """Return the contrast of repetitions that don't belong together: Welch's interval and test (Welch, 1947).

    Args:
        bounds: of a difference.
    """
    value = sum(second) / len(second) - sum(first) / len(first)
    alone = Contrast(value, None, None, None, None, None, 0, ())
    if min(len(first), len(second)) < 2:
        return alone
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return alone
    freedom = sum(parts) ** 2 / sum(p * p / (len(values) - 1) for p, values in zip(parts, (first, second), strict=True))
    half = t_quantile(freedom) * error
    interval = _within(value, half, bounds)
    return Contrast(value, interval, None, t_p(value / error, freedom), None, "Welch", 0, ())


def t_interval(values: Sequence[float], bounds: Bounds | None = None) -> Interval:
    """Return the 95 % interval of the mean of at least two values: mean ± t · s/√n, s the sample's standard deviation.

    Args:
        bounds: what the interval has to stay within. Then t · s/√n is taken on the logit scale of the bounds, or on the
            log scale where there is no upper one, by the delta method, and the ends are mapped back. The interval holds
            the mean, is the plain one where the spread is small, and is not symmetric near a bound. Values outside the
            bounds get the plain one.
    """
    n, average = len(values), sum(values) / len(values)
    half = t_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    if bounds and not bounds[0] <= min(values) <= max(values) <= bounds[1]:
        bounds = None
    return _within(average, half, bounds)


def _within(value: float, half: float, bounds: Bounds | None) -> Interval:
    """Return value ± half, made on a scale on which `bounds` are infinitely far away."""
    if bounds is None:
        return value - half, value + half
    low, high = bounds
    if half == 0 or not low < value < high:  # all values are equal, at a bound for instance
        return value, value
    if math.isinf(high):
        factor = math.exp(half / (value - low))
        return low + (value - low) / factor, low + (value - low) * factor
    odds = (value - low) / (high - value)
    factor = math.exp(half * (high - low) / ((value - low) * (high - value)))
    least, most = odds / factor, odds * factor
    return low + (high - low) * least / (1 + least), low + (high - low) * most / (1 + most)


@lru_cache(maxsize=256)
def t_quantile(freedom: float, outside: float = 0.05) -> float:
    """The t beyond which, on both sides together, a share `outside` of Student's distribution lies.

    P(|T| > t) = I_x(ν/2, 1/2) at x = ν/(ν + t²) (Abramowitz and Stegun, 26.7.1 and 26.5.27), solved for x by halving.
    """
    low, high = 0.0, 1.0
    for _ in range(80):
        x = (low + high) / 2
        low, high = (x, high) if _beta(freedom, x) < outside else (low, x)
    return math.sqrt(freedom * (1 - low) / low)


def t_p(t: float, freedom: float) -> float:
    """Two-sided p-value of Student's t."""
    return _beta(freedom, freedom / (freedom + t * t))


def _beta(freedom: float, x: float) -> float:
    return float(mpmath.betainc(freedom / 2, 0.5, 0, x, regularized=True))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired permutation test (Fisher, 1935): if the two of a pair were interchangeable, each
    difference could as well have had the other sign; p is the share of sign assignments whose mean is as far from 0.

    Exact up to 18 pairs. It never goes below `smallest_p`.
    """
    data = np.asarray(differences, dtype=np.float64)
    n = len(data)
    if n <= _EXACT:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(_DRAWS, n))
        signs[0] = 1.0  # the observed one is among them, so that p is never 0
    # Sums that are equal on paper may differ by rounding.
    as_far = np.abs(signs @ data) >= abs(data.sum()) - 1e-9 * float(np.abs(data).sum())
    return float(as_far.mean())


def smallest_p(pairs: int) -> float:
    """2^−(n−1): all differences of one sign, or all of the other."""
    return 2.0 ** (1 - pairs)
