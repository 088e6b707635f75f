"""The prompts of one set: a few numbers for each in memory, texts on disk, tokens when a prompt is read."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from prerlkit.data.spool import Spool
from prerlkit.errors import UsageError
from prerlkit.types import Prompt

Tokenize = Callable[[Sequence[str]], list[list[int]]]
AT_ONCE = 2048
"""Prompts that are tokenized, or rows that are rendered, in one call."""
_SAMPLE = 1024
"""Most prompts whose tokens are in a set's digest: a small set has all of them in it."""
_UNKNOWN = 2**32 - 1
_A_TOKEN = re.compile("[0-9A-Za-z]")
_ADDED = 16  # tokens that a tokenizer may put around a text


def normal(text: str) -> str:
    """Return the normalized text by which prompts are equal: the rendered text without differences of white space."""
    return " ".join(text.split())


class Drafts:
    """Rendered rows in source order; they grow by `append`.

    Attributes (one item per row):
        numbers: the row's place in its source.
        keys: hash of the normalized text; equal for equal prompts. Two of a million others share one at a chance of
            3e-8.
        contents: hash of text and answer.
        bounds: no fewer tokens than the text has.
        rest: text, answer and row, on disk.
    """

    def __init__(self) -> None:
        self.numbers, self.keys, self.contents = array("Q"), array("Q"), array("Q")
        self.bounds = array("I")
        self.rest = Spool()

    def append(self, number: int, text: str, answer: str | None, row: dict[str, Any]) -> None:
        self.numbers.append(number)
        self.keys.append(_hash(normal(text)))
        self.contents.append(_hash(f"{answer!r} {text}"))
        self.bounds.append(most_tokens(text))
        self.rest.append([text, answer, row])


def most_tokens(text: str) -> int:
    """Return a number of tokens that no tokenizer exceeds on the text: one per byte, also after normalization.

    A text without a letter or digit of ASCII could have no token, which is an error: it gets the largest number.
    """
    if not _A_TOKEN.search(text):
        return _UNKNOWN
    if text.isascii():
        return min(len(text) + _ADDED, _UNKNOWN)
    widest = max(len(form.encode("utf-8", "surrogatepass")) for form in (text, unicodedata.normalize("NFKD", text)))
    return min(widest + _ADDED, _UNKNOWN)


class PromptSet(Sequence[Prompt]):
    """Some of the drafts as prompts. A slice is a tuple; equal to any sequence of the same prompts.

    A prompt is read and tokenized at each access, so a set needs about 40 bytes of memory per prompt.

    Args:
        which: `train` or `eval`, the first part of each id.
        drafts: the rows.
        places: which of the drafts, in the set's order. [N]
        tokenize: gives the tokens of texts.
        most: the most tokens of a prompt.
    """

    def __init__(self, which: str, drafts: Drafts, places: np.ndarray, tokenize: Tokenize, most: int) -> None:
        self.which = which
        self._drafts = drafts
        self._places = places
        self._tokenize = tokenize
        self._most = most

    def take(self, chosen: np.ndarray, which: str | None = None) -> PromptSet:
        """Return the set of the prompts at these positions of this one, under the name `which`."""
        return PromptSet(which or self.which, self._drafts, self._places[chosen], self._tokenize, self._most)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Prompt, ...]: ...

    def __getitem__(self, index: int | slice) -> Prompt | tuple[Prompt, ...]:
        if isinstance(index, slice):
            return tuple(self._made(self._places[index]))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return next(self._made(self._places[[index]]))

    def __iter__(self) -> Iterator[Prompt]:
        return self._made(self._places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @property
    def numbers(self) -> np.ndarray:
        """Each prompt's row in its source. [N]"""
        return _column(self._drafts.numbers)[self._places]

    @property
    def keys(self) -> np.ndarray:
        """Each prompt's hash; texts that differ only in white space have the same. [N]"""
        return _column(self._drafts.keys)[self._places]

    def texts(self) -> Iterator[str]:
        """Yield each prompt's text."""
        return (self._drafts.rest[place][0] for place in self._places.tolist())

    def id(self, index: int) -> str:
        """Return the id of the prompt at that position."""
        return self._id(int(self._places[index]))

    def lengths_above(self, limit: int) -> dict[int, int]:
        """Return the tokens of each prompt that has more than `limit`, by its position.

        Only texts that could be that long are tokenized.

        Raises:
            UsageError: a prompt has no tokens.
        """
        bounds = _column(self._drafts.bounds)[self._places]
        found = {}
        for part in _parts(np.flatnonzero(bounds > limit)):
            texts = [self._drafts.rest[place][0] for place in self._places[part].tolist()]
            for index, text, tokens in zip(part.tolist(), texts, self._tokenize(texts), strict=True):
                if not tokens:
                    raise no_tokens(self.id(index), text)
                if len(tokens) > limit:
                    found[index] = len(tokens)
        return found

    def digest(self) -> str:
        """Return a SHA-256 of ids, texts and answers in order, and of the tokens of up to 1,024 prompts."""
        whole = hashlib.sha256(self.which.encode())
        contents = _column(self._drafts.contents)[self._places]
        for column in (self.numbers, contents):
            whole.update(column.astype("<u8").tobytes())
        count = min(_SAMPLE, len(self))
        sample = self.take(np.arange(count) * len(self) // max(1, count))
        whole.update(json.dumps([prompt.token_ids for prompt in sample]).encode())
        return whole.hexdigest()

    def _made(self, places: np.ndarray) -> Iterator[Prompt]:
        for part in _parts(places):
            rest = [self._drafts.rest[place] for place in part.tolist()]
            ids = self._tokenize([text for text, _, _ in rest])
            for place, (text, answer, row), tokens in zip(part.tolist(), rest, ids, strict=True):
                where = self._id(place)
                if not tokens:
                    raise no_tokens(where, text)
                if len(tokens) > self._most:  # a tokenizer that makes several tokens of a byte
                    raise UsageError(
                        f"prompt {where} has {len(tokens):,} tokens, more than rollout.max_prompt_tokens "
                        f"({self._most:,})",
                        f"Set rollout.max_prompt_tokens: {len(tokens)}, or filter out such rows.",
                    )
                yield Prompt(where, text, tuple(tokens), answer, row)

    def _id(self, place: int) -> str:
        return f"{self.which}/{self._drafts.numbers[place]}"


def no_tokens(where: str, text: str) -> UsageError:
    return UsageError(f"row {where}: the prompt is empty: {text!r}")


def _parts(indices: np.ndarray) -> Iterator[np.ndarray]:
    return (indices[start : start + AT_ONCE] for start in range(0, len(indices), AT_ONCE))


def _column(values: array[int]) -> np.ndarray:
    return np.frombuffer(values, dtype=np.dtype(f"u{values.itemsize}")) if values else np.zeros(0, np.uint64)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
