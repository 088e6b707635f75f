"""Sequences packed into one row without padding: every layer but attention sees each token once, and no other.

A context (a prompt or the start token) is in the row once, followed by the tokens of all its completions. Position ids
give each token's place in its sequence. Only attention divides the row, into blocks of sequences of about one length:
the queries of a completion meet the keys of its context and of the completion itself (`attention.py` calls `attend`).

Layers with a state that runs along the row (gated delta nets, convolutions) can't share a context. For them each
completion has its context in front of it, and their kernels learn where a sequence begins, as from transformers'
`DataCollatorWithFlattening`. Without such kernels there is no packed row (`packs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

SMALLEST_BLOCK = 8
"""Sequences up to this length are of one block: smaller ones would cost more calls than they save padding."""

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""queries [B, H, T, D], keys and values [B, K, S, D], which keys a query sees [B, 1, T, S] → [B, T, H, D]"""


def block_of(length: int) -> int:
    """Return the block of a sequence of `length` tokens: lengths in a block differ by less than a factor of two."""
    return max(SMALLEST_BLOCK.bit_length() - 1, (length - 1).bit_length())


@dataclass(frozen=True, slots=True)
class Block:
    """Sequences whose attention is computed together, by places in the packed row. Padding points to place 0.

    Attributes:
        queries_BT: the tokens of each sequence.
        keys_BS: the tokens that they may see, in the order of positions.
        seen_BTS: which of those each token sees.
    """

    queries_BT: Tensor
    keys_BS: Tensor
    seen_BTS: Tensor

    def to(self, device: torch.device) -> Block:
        return Block(self.queries_BT.to(device), self.keys_BS.to(device), self.seen_BTS.to(device))


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed row of M tokens and its division into blocks for attention.

    Attributes:
        tokens_M, positions_M: the row.
        blocks: every token is a query in exactly one of them.
        restore_M: index of each token's output in the concatenated outputs [B·T] of the blocks.
        scores_N: the place whose state predicts each completion token, completion by completion.
        boundaries: arguments of the model that say where each sequence begins; none where contexts are shared.
    """

    tokens_M: Tensor
    positions_M: Tensor
    blocks: tuple[Block, ...]
    restore_M: Tensor
    scores_N: Tensor
    boundaries: Mapping[str, Any] = field(default_factory=dict)
    _seen: dict[int, tuple[Tensor, ...]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, contexts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]]) -> Packed:
        """Return a row of completions and the context in front of each, equal contexts once. None may be empty."""
        tokens: list[int] = []
        positions: list[int] = []
        own: list[range] = []  # the places of each sequence
        before: list[range] = []  # the places of its context
        spans: dict[tuple[int, ...], range] = {}
        for context in dict.fromkeys(contexts):
            spans[context] = range(len(tokens), len(tokens) + len(context))
            own.append(spans[context])
            before.append(range(0))
            tokens += context
            positions += range(len(context))
        scores: list[int] = []
        for context, completion in zip(contexts, completions, strict=True):
            places = range(len(tokens), len(tokens) + len(completion) - 1)  # the last token predicts nothing
            scores += [spans[context][-1], *places]
            if places:
                own.append(places)
                before.append(spans[context])
                tokens += completion[:-1]
                positions += range(len(context), len(context) + len(places))
        blocks, restore = _blocks(own, before, len(tokens))
        return cls(torch.tensor(tokens), torch.tensor(positions), blocks, restore, torch.tensor(scores))

    @classmethod
    def whole(cls, contexts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]]) -> Packed:
        """Return a row of whole sequences: a completion's context in front of each. None may be empty."""
        rows = [x + y[:-1] for x, y in zip(contexts, completions, strict=True)]  # the last token predicts nothing
        ends = list(accumulate(map(len, rows), initial=0))
        own = [range(start, end) for start, end in pairwise(ends)]
        blocks, restore = _blocks(own, [range(0)] * len(own), ends[-1])
        scores = [torch.arange(places.start + len(x) - 1, places.stop) for places, x in zip(own, contexts, strict=True)]
        starts = torch.tensor(ends, dtype=torch.int32)
        longest = max(map(len, rows))
        sequences = torch.arange(len(rows), dtype=torch.int32).repeat_interleave(starts.diff())
        boundaries = {
            "seq_idx": sequences[None],
            **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), starts),
            **dict.fromkeys(("max_length_q", "max_length_k"), longest),
        }
        tokens = torch.tensor([token for row in rows for token in row])
        positions = torch.cat([torch.arange(len(row)) for row in rows])
        return cls(tokens, positions, blocks, restore, torch.cat(scores), boundaries)

    def to(self, device: torch.device) -> Packed:
        return Packed(
            self.tokens_M.to(device),
            self.positions_M.to(device),
            tuple(block.to(device) for block in self.blocks),
            self.restore_M.to(device),
            self.scores_N.to(device),
            {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.boundaries.items()},
        )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, window: int | None, attend: Attend) -> Tensor:
        """Return the attention of a packed row, [1, M, H, D], from query [1, H, M, D], key and value [1, K, M, D].

        Args:
            window: how many positions back a token sees, itself included; None is all.
        """
        heads, width = query.shape[1], value.shape[3]
        rows = [tensor[0].transpose(0, 1).flatten(1) for tensor in (query, key, value)]  # [M, heads·D]
        outputs = []
        for block, seen_BTS in zip(self.blocks, self._seen_within(window), strict=True):
            q, k, v = (
                _taken(row, places, tensor.shape[1])
                for row, places, tensor in zip(
                    rows, (block.queries_BT, block.keys_BS, block.keys_BS), (query, key, value), strict=True
                )
            )
            outputs.append(attend(q, k, v, seen_BTS[:, None]).reshape(-1, heads * width))
        return torch.cat(outputs).index_select(0, self.restore_M).view(1, -1, heads, width)

    def _seen_within(self, window: int | None) -> tuple[Tensor, ...]:
        """Return `seen_BTS` of each block, cut to a window. The first layer makes it, and the others reuse it."""
        if window is None:
            return tuple(block.seen_BTS for block in self.blocks)
        if window not in self._seen:
            self._seen[window] = tuple(self._cut(block, window) for block in self.blocks)
        return self._seen[window]

    def _cut(self, block: Block, window: int) -> Tensor:
        queries_BT, keys_BS = self.positions_M[block.queries_BT], self.positions_M[block.keys_BS]
        return block.seen_BTS & (queries_BT[:, :, None] - keys_BS[:, None] < window)


def _taken(row: Tensor, places: Tensor, heads: int) -> Tensor:
    """[M, heads·D] at places [B, T] → [B, heads, T, D]"""
    # index_select: the gradient of row[places] takes five to ten times as long on a CPU.
    taken = row.index_select(0, places.flatten())
    return taken.view(*places.shape, heads, -1).transpose(1, 2)


def _blocks(own: list[range], before: list[range], size: int) -> tuple[tuple[Block, ...], Tensor]:
    """Return blocks of sequences of about one length, and where each of `size` places lies in their outputs."""
    by_block: dict[int, list[int]] = {}
    for index, places in enumerate(own):
        by_block.setdefault(block_of(len(places)), []).append(index)
    blocks, restore, start = [], torch.empty(size, dtype=torch.long), 0
    for members in by_block.values():
        width, length = max(len(before[i]) for i in members), max(len(own[i]) for i in members)
        queries_BT = torch.zeros(len(members), length, dtype=torch.long)
        keys_BS = torch.zeros(len(members), width + length, dtype=torch.long)
        real_BS = torch.zeros(len(members), width + length, dtype=torch.bool)
        for row, i in enumerate(members):
            here = torch.arange(own[i].start, own[i].stop)
            queries_BT[row, : len(here)] = keys_BS[row, width : width + len(here)] = here
            keys_BS[row, width - len(before[i]) : width] = torch.arange(before[i].start, before[i].stop)
            real_BS[row, width - len(before[i]) : width + len(here)] = True
            restore[here] = start + row * length + torch.arange(len(here))
        causal_TS = torch.ones(length, width + length, dtype=torch.bool).tril(width)
        blocks.append(Block(queries_BT, keys_BS, real_BS[:, None] & causal_TS))
        start += len(members) * length
    return tuple(blocks), restore


@torch.no_grad()
def packs(base: Any) -> bool:
    """Whether a model computes a packed row as it does the same sequences one by one.

    Measured on the model: it must hand the row's layout through to attention, take positions from their ids, and have
    no state other than attention's that runs along a row.
    """
    # More than 32 tokens in every pass: below, bitsandbytes multiplies NF4 weights by another kernel on CUDA, whose
    # rounding differs, and neither of the two would be wrong.
    context = tuple(range(1, 34))
    contexts = [context, tuple(range(40)), context]
    completions = [(4, 5), (6, 7, 8, 9, 10, 11, 12, 13, 14, 15), (5, 4, 3)]
    return _as_one_by_one(base, Packed.of(contexts, completions), contexts, completions)


@torch.no_grad()
def packs_whole(base: Any) -> bool:
    """Whether a model computes a packed row of whole sequences as it does them one by one: no state crosses over.

    Measured on the model, every place but the last of each sequence: a state that leaks shows most at its beginning.
    """
    contexts = [(3,), (7, 8), (3,)]
    completions = [tuple(range(1, 36)), tuple(range(9, 50)), tuple(range(40, 4, -1))]  # more than 32 tokens, as above
    return _as_one_by_one(base, Packed.whole(contexts, completions), contexts, completions)


def _as_one_by_one(
    base: Any, packed: Packed, contexts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]]
) -> bool:
    """Whether a packed row gives the states of its sequences one by one, all together and at the worst place."""
    model = base.get_decoder()
    try:
        ours_ND = packed_states(model, packed.to(base.device)).float()
        plain = [
            model(input_ids=torch.tensor([x + y], device=base.device), use_cache=False)[0][0, len(x) - 1 : -1]
            for x, y in zip(contexts, completions, strict=True)
        ]
    except (AttributeError, AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return False
    plain_ND = torch.cat(plain).float()
    within = 1e-3 if base.dtype == torch.float32 else 0.05  # 16-bit models round; a wrong row is off by its own size
    apart_N, size_N = (ours_ND - plain_ND).norm(dim=1), plain_ND.norm(dim=1)
    return bool(apart_N.norm() <= within * size_N.norm()) and bool((apart_N <= 10 * within * size_N).all())


def packed_states(model: Any, packed: Packed) -> Tensor:
    """Return the output of `model` that predicts each completion token: states [N, D], or logits [N, V]."""
    out_1MD = model(
        input_ids=packed.tokens_M[None],
        position_ids=packed.positions_M[None],
        # Four axes mean "as it is" to transformers, which otherwise makes a mask [M, M] that is never used.
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=packed.tokens_M.device),
        use_cache=False,
        packed=packed,
        **packed.boundaries,
    )[0]
    states_ND: Tensor = out_1MD[0].index_select(0, packed.scores_N)
    return states_ND
