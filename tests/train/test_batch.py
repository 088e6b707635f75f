"""Micro-batches: the budget holds, nothing is lost, and padding is never scored."""

import torch

from prerlkit.objective.aggregate import count, select
from prerlkit.recipe.schema import Stage
from prerlkit.train.batch import TrainRow, collate, micro_batches, train_rows
from prerlkit.types import Completion, Group, Prompt, Verdict


def row(context: int, completion: int) -> TrainRow:
    return TrainRow(tuple(range(context)), tuple(range(100, 100 + completion)), -0.5, 0.25)


def test_micro_batches_hold_the_budget_and_every_row_once():
    rows = [row(3, n) for n in (5, 1, 9, 2, 30, 4)]
    batches = micro_batches(rows, 24)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    for batch in batches:
        assert len(batch) == 1 or max(rows[i].length for i in batch) * len(batch) <= 24
    assert batches[0] == [4]  # over the budget by itself: goes alone, and first
    assert len(batches) == 3


def test_collate_lists_the_tokens_to_score():
    batch = collate([row(2, 3), row(4, 1)], [1, 0], torch.device("cpu"))
    assert batch.tokens_BT.tolist() == [[0, 1, 2, 3, 100], [0, 1, 100, 101, 102]]
    assert batch.rows_N.tolist() == [0, 1, 1, 1]
    assert batch.columns_N.tolist() == [4, 2, 3, 4]
    assert batch.tokens_BT[batch.rows_N, batch.columns_N].tolist() == [100, 100, 101, 102]


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
