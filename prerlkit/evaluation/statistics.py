"""Estimates and their intervals: Wilson for a share, the unbiased pass@k, the bootstrap over prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share (Wilson, 1927). (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, Z95 * Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    # The ends are exact where all or none passed; by rounding, the interval might not hold the share.
    return centre - half if successes else 0.0, centre + half if successes < trials else 1.0


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k samples passes: 1 − C(n−c, k)/C(n, k) (arXiv 2107.03374)."""
    if k > samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, not {samples}")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def bootstrap_mean(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean, resampling prompts. Degenerate for fewer than two values."""
    if not values:
        return 0.0, 1.0
    data = np.asarray(values, dtype=np.float64)
    chosen = np.random.default_rng(seed).integers(0, len(data), size=(draws, len(data)))
    low, high = np.quantile(data[chosen].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
