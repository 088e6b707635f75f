"""Scores a completion's length: 1 up to a bound, then falling to 0 (DAPO's soft overlong punishment, arXiv 2503.14476).

DAPO's eq. 13 falls from 0 to -1; here 1 is added, which makes it a score. A completion that the token limit cut fails
with 0. The score knows nothing of the answer: multiply it (`reward: product`), or give it a small weight.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from prerlkit.settings import PositiveInt
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput


class LengthSettings(Settings):
    """Where the score starts to fall and where it ends."""

    max_tokens: PositiveInt
    """L_max: the score is 0 above it. rollout.max_new_tokens is the natural choice: a cut completion scores 0 too."""
    buffer: PositiveInt | None = None
    """L_cache: over how many tokens up to max_tokens the score falls. null: a fifth of max_tokens, as in DAPO (4,096 of
    20,480)."""

    @model_validator(mode="after")
    def _buffer_fits(self) -> Self:
        if self.buffer is not None and self.buffer > self.max_tokens:
            raise ValueError(f"buffer ({self.buffer}) is above max_tokens ({self.max_tokens})")
        return self


class Length(Verifier):
    """Scores 1 for a completion that is short enough, less for one in the buffer, 0 above; passes up to max_tokens."""

    name = "length"
    Settings = LengthSettings
    settings: LengthSettings
    needs_answer = False

    def judge(self, sample: VerifierInput) -> Verdict:
        if not sample.tokens and sample.completion:
            return Verdict.unjudged("the completion's length in tokens isn't known")
        most = self.settings.max_tokens
        buffer = self.settings.buffer or max(1, most // 5)
        score = min(1.0, max(0.0, (most - sample.tokens) / buffer))
        if sample.truncated:
            score = 0.0
        passed = sample.tokens <= most and not sample.truncated
        return Verdict(score, passed, "" if score == 1 else f"{sample.tokens} tokens" + ", cut" * sample.truncated)

    gold = (
        GoldCase("short", "pass", tokens=80, settings={"max_tokens": 100}),
        GoldCase("in the buffer", "pass", tokens=90, settings={"max_tokens": 100}),
        GoldCase("just", "pass", tokens=100, settings={"max_tokens": 100}),
        GoldCase("too long", "fail", tokens=101, settings={"max_tokens": 100}),
        GoldCase("cut", "fail", tokens=100, truncated=True, settings={"max_tokens": 100}),
        GoldCase("", "pass", settings={"max_tokens": 100}),
        GoldCase("without a count", "unjudged", settings={"max_tokens": 100}),
    )
