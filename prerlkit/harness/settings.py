"""How policies are evaluated: which draws, which estimates."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from prerlkit.settings import Bool, Int, NonNegativeInt, PositiveFloat, PositiveInt, Settings


class EvalSettings(Settings):
    """One evaluation's settings; the same for every target."""

    greedy: Bool = True
    """One greedy answer a problem: accuracy."""
    samples: NonNegativeInt = 0
    """n samples a problem, for avg@n, pass@k and maj@k. 0: none."""
    pass_at: tuple[PositiveInt, ...] = ()
    """The k's of pass@k (unbiased, arXiv 2107.03374). Empty: the powers of two up to `samples`, and `samples`."""
    majority_at: tuple[PositiveInt, ...] = ()
    """The k's of maj@k. Empty: `samples`."""
    temperature: PositiveFloat = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: NonNegativeInt = 0
    """0: off."""
    max_new_tokens: PositiveInt = 1024
    """Completions are cut here."""
    problems: NonNegativeInt = 0
    """Only the first so many. 0: all."""
    seed: Int = 0
    """A completion's tokens are a function of it, the problem and the sample's number."""
    max_sequences: PositiveInt = 64
    """Completions decoded at once: more is faster and takes more memory."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.greedy and not self.samples:
            raise ValueError("neither greedy answers nor samples: nothing would be done")
        if too_big := [k for k in (*self.pass_at, *self.majority_at) if k > self.samples]:
            raise ValueError(f"k = {too_big[0]} is more than samples ({self.samples})")
        return self

    @property
    def pass_ks(self) -> tuple[int, ...]:
        if self.pass_at or not self.samples:
            return tuple(sorted(set(self.pass_at)))
        powers = [2**i for i in range(self.samples.bit_length())]
        return tuple(sorted({*powers, self.samples}))

    @property
    def majority_ks(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.majority_at))) or ((self.samples,) if self.samples > 1 else ())
