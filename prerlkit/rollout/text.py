"""The text of a completion, for verifiers and readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def completion_text(tokenizer: Any, token_ids: Sequence[int], end_ids: Iterable[int]) -> str:
    """Return the text of `token_ids` as it was generated, without end tokens and padding.

    Other special tokens stay: in many vocabularies `<think>` and `<answer>` are special, and a verifier needs them.
    """
    left_out = {*end_ids, tokenizer.pad_token_id}
    kept = [token for token in token_ids if token not in left_out]
    return str(tokenizer.decode(kept, skip_special_tokens=False))
