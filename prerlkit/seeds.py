"""Randomness as a function of the position: every draw is derived from (seed, purpose, position), none from history.

So a run that stops and resumes draws what it would have drawn, two processes with half the prompts each sample what one
would have, and a completion does not depend on what else is in its batch.
"""

from __future__ import annotations

import zlib

import numpy as np


def _sequence(seed: int, parts: tuple[str | int, ...]) -> np.random.SeedSequence:
    # crc32 gives the same number in every process; Python's own hash() of a string does not.
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in parts]
    return np.random.SeedSequence([seed & 0xFFFFFFFFFFFFFFFF, *words])


def derive(seed: int, *parts: str | int) -> int:
    """A 63-bit seed for `parts`, such as ("adapter", "warmup")."""
    return int(_sequence(seed, parts).generate_state(1, np.uint64)[0] >> 1)


def uniforms(seed: int, count: int, *parts: str | int) -> np.ndarray:
    """`count` float32 draws from [0, 1) that belong to `parts`, such as ("train/17", step, sample). [count]"""
    return np.random.Generator(np.random.Philox(_sequence(seed, parts))).random(count, dtype=np.float32)
