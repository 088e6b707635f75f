"""Which sequences go through the model together: as many tokens at once as memory allows, contexts kept together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prerlkit.policy.packed import block_of


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence that goes through the model: context (prompt, or the start token), then y."""

    context: tuple[int, ...]
    completion: tuple[int, ...]


def micro_batches(rows: Sequence[TokenRow], token_budget: int, *, share_contexts: bool) -> list[list[int]]:
    """Return the row indices of each micro-batch, none of which has more than `token_budget` tokens with padding.

    Rows of one context stay together. The longest contexts and completions come first: a micro-batch that does not fit
    in memory then fails at once. A row longer than the budget is a micro-batch alone.
    """
    batches: list[list[int]] = []
    size = _Size(share_contexts)
    for index in by_context(rows):
        size.add(rows[index])
        if batches and size.tokens <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            size = _Size(share_contexts)
            size.add(rows[index])
    return batches


class _Size:
    """How large a micro-batch is, kept as rows come."""

    def __init__(self, share_contexts: bool) -> None:
        self._share = share_contexts
        self._contexts: set[tuple[int, ...]] = set()
        self._blocks: dict[int, tuple[int, int]] = {}  # rows and the longest completion of each
        self._rows = self._longest = self._packed = 0

    def add(self, row: TokenRow) -> None:
        self._rows += 1
        self._longest = max(self._longest, len(row.context) + len(row.completion))
        if row.context not in self._contexts:
            self._contexts.add(row.context)
            self._packed += len(row.context)
        length = len(row.completion)
        rows, longest = self._blocks.get(block_of(length), (0, 0))
        grown = max(longest, length)
        self._blocks[block_of(length)] = rows + 1, grown
        self._packed += (rows + 1) * grown - rows * longest

    @property
    def tokens(self) -> int:
        """That go through the model, padding included: in a packed row attention alone has some."""
        return self._packed if self._share else self._rows * self._longest


def by_context(rows: Sequence[TokenRow]) -> list[int]:
    """Return indices of rows, those of one context together, the longest first."""
    return sorted(range(len(rows)), key=lambda i: (-len(rows[i].context), rows[i].context, -len(rows[i].completion)))
