"""Micro-batches: the budget holds, nothing is lost, and padding is never scored."""

import pytest
import torch

from prerlkit.objective.aggregate import count, select
from prerlkit.recipe.schema import Stage
from prerlkit.train.batch import TrainRow, collate, micro_batches, train_rows
from prerlkit.types import Completion, Group, Prompt, Verdict


def row(context: int, completion: int) -> TrainRow:
    return TrainRow(tuple(range(context)), tuple(range(100, 100 + completion)), -0.5, 0.25)


@pytest.mark.parametrize(
    ("share_contexts", "expected"),
    [
        # Contexts of 3 and 6 tokens. Shared: 6 + 9 + … Apart: (6 + 9) a row.
        (True, [[4], [2], [0, 5, 3, 1]]),  # 33; 6 + 9 = 15, with the next 6 + 3 would be 2·6 + 2·9 = 30; 3 + 4·5 = 23
        (False, [[4], [2], [0, 5], [3, 1]]),  # 2·(3 + 5) = 16, three would be 24 … four 32; 2·(3 + 2) = 10
    ],
)
def test_micro_batches_hold_the_budget_and_every_row_once(share_contexts, expected):
    rows = [row(3, 5), row(3, 1), row(6, 9), row(3, 2), row(6, 27), row(3, 4)]
    assert micro_batches(rows, 23, share_contexts=share_contexts) == expected


def test_collate_gives_each_token_its_rows_numbers():
    rows = [row(2, 3), TrainRow((0, 1), (7,), 0.5, 0.1)]
    batch = collate(rows, [1, 0], torch.device("cpu"))
    assert batch.sequences.contexts_PS.tolist() == [[0, 1]]
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
