"""Micro-batches: the budget holds, nothing is lost, and padding is never scored."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prerlkit.objective.advantage import count, select
from prerlkit.policy.microbatch import by_context, micro_batches
from prerlkit.policy.packed import block_of
from prerlkit.recipe.schema import Stage
from prerlkit.train.batch import TrainRow, collate, train_rows
from prerlkit.types import Completion, Group, Prompt, Verdict


def row(context: int, completion: int) -> TrainRow:
    return TrainRow(tuple(range(context)), tuple(range(100, 100 + completion)), -0.5, 0.25)


@pytest.mark.parametrize(
    ("share_contexts", "expected"),
    [
        # Contexts of 3 and 6 tokens. Shared: each once, completions as long as the longest of a block.
        # 6 + 27 = 33; 6 + 9 = 15, and with the next 15 + 3 + 5 = 23, then 15 + 3 + 2·5 = 28; 3 + 4 + 2 + …
        (True, [[4], [2, 0], [5, 3, 1]]),
        (False, [[4], [2], [0, 5], [3, 1]]),  # 2·(3 + 5) = 16, three would be 24 … four 32; 2·(3 + 2) = 10
    ],
)
def test_micro_batches_hold_the_budget_and_every_row_once(share_contexts, expected):
    rows = [row(3, 5), row(3, 1), row(6, 9), row(3, 2), row(6, 27), row(3, 4)]
    assert micro_batches(rows, 23, share_contexts=share_contexts) == expected


def tokens(rows: list[TrainRow], share_contexts: bool) -> int:
    """How many a micro-batch has, counted from its whole list of rows."""
    if not share_contexts:
        return len(rows) * max(len(r.context) + len(r.completion) for r in rows)
    lengths = [len(r.completion) for r in rows]
    blocks = [[n for n in lengths if block_of(n) == block] for block in {block_of(n) for n in lengths}]
    return sum(map(len, {r.context for r in rows})) + sum(len(block) * max(block) for block in blocks)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=30),
    st.integers(1, 200),
    st.booleans(),
)
def test_sizes_kept_as_rows_come_are_those_counted_anew(lengths, budget, share_contexts):
    rows = [row(context, completion) for context, completion in lengths]
    expected: list[list[int]] = []
    for index in by_context(rows):
        last = expected[-1] if expected else []
        if last and tokens([rows[i] for i in [*last, index]], share_contexts) <= budget:
            last.append(index)
        else:
            expected.append([index])
    assert micro_batches(rows, budget, share_contexts=share_contexts) == expected


def test_collate_gives_each_token_its_rows_numbers():
    rows = [row(2, 3), TrainRow((0, 1), (7,), 0.5, 0.1)]
    batch = collate(rows, [1, 0], torch.device("cpu"))
    assert batch.sequences.contexts == ((0, 1), (0, 1))
    assert batch.sequences.completions == ((7,), (100, 101, 102))
    assert batch.sequences.rows_N.tolist() == [0, 1, 1, 1]
    assert batch.advantages_N.tolist() == [0.5, -0.5, -0.5, -0.5]
    assert batch.weights_N.tolist() == pytest.approx([0.1, 0.25, 0.25, 0.25])


def test_in_pretrain_space_the_prompt_is_gone():
    completions = tuple(Completion((7, 8, n), "", (0.0,) * 3, False) for n in range(2))
    group = Group(Prompt("train/0", "p", (1, 2, 3)), completions, (Verdict.of(True), Verdict.of(False)))
    common = {"name": "s", "steps": 1, "learning_rate": 1.0}
    contexts = {}
    for preset in ("nsr-prerl", "grpo"):
        (objective,) = Stage.model_validate({**common, "objective": preset}).objective
        samples = select([group], objective)
        rows = train_rows(samples, objective, count(samples), start_id=99, max_new_tokens=8)
        contexts[preset] = [(r.context, r.completion, r.weight) for r in rows]
    assert contexts["nsr-prerl"] == [((99,), (7, 8, 1), 1 / 3)]
    assert contexts["grpo"] == [((1, 2, 3), (7, 8, 0), 1 / 6), ((1, 2, 3), (7, 8, 1), 1 / 6)]
