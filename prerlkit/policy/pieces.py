"""The text of each token of a completion, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HALF = "\ufffd"


def token_texts(tokenizer: Any, token_ids: Sequence[int]) -> list[str]:
    """What each token adds to the text, special tokens included; joined they are the whole text, where it is valid.

    A character that takes several tokens stands at the last of them, the others add "". Decoded with the tokens of the
    character before in front, because some tokenizers drop a space at the beginning of what they decode.
    """
    texts, begin, done = [], 0, 0
    for n in range(1, len(token_ids) + 1):
        before = _decode(tokenizer, token_ids[begin:done])
        whole = _decode(tokenizer, token_ids[begin:n])
        if whole.endswith(_HALF) and n < len(token_ids) and n - done < 4:  # a character is four bytes at most
            texts.append("")
            continue
        texts.append(whole[len(before) :])
        begin, done = done, n
    return texts


def _decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
