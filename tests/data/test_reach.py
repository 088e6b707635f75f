"""The laboratory's task: problems by hand, three parts without a common problem, rows that the seed decides."""

from __future__ import annotations

import pytest

from prerlkit.data.generators import generate
from prerlkit.data.reach import HIGHEST, LARGEST, apply, expressions, problems
from prerlkit.errors import UsageError


def test_expressions_of_1_1_2_by_hand() -> None:
    """Orders 112, 121, 211; of 27 expressions those whose results, also between, are from 0 to 99."""
    found = expressions((1, 1, 2))
    assert found["1 - 1 = 0 , 0 * 2 = 0 ."] == 0
    assert found["1 + 2 = 3 , 3 * 1 = 3 ."] == 3
    assert not any(text.startswith("1 - 2") for text in found)  # -1
    assert "1 - 1 = 0 , 0 - 2 = -2 ." not in found
    assert sorted(set(found.values())) == [0, 1, 2, 3, 4]


def test_every_expression_adds_up_and_stays_in_bounds() -> None:
    for text, result in expressions((3, 4, 9)).items():
        a, first, b, _, between, _, again, second, c, _, last, _ = text.split()
        assert apply(int(a), first, int(b)) == int(between) == int(again)
        assert apply(int(again), second, int(c)) == int(last) == result
        assert sorted(map(int, (a, b, c))) == [3, 4, 9]
        assert 0 <= int(between) <= LARGEST
        assert 0 <= result <= LARGEST


def test_the_parts_share_no_problem_and_hard_ones_are_solved_by_few_expressions() -> None:
    parts = {part: problems(part) for part in ("pretraining", "train", "eval")}
    every = [problem for part in parts.values() for problem in part]
    assert len(set(every)) == len(every)
    assert (len(parts["train"]), len(parts["eval"])) == (1000, 400)
    for problem in parts["eval"]:
        results = list(expressions(problem.numbers).values())
        assert 0 < results.count(problem.target) <= 0.12 * len(results)
        assert max(problem.numbers) <= HIGHEST


def test_the_packaged_base_model_belongs_to_these_parts() -> None:
    """Another order would put problems that the base has seen into eval."""
    assert [(p.numbers, p.target) for p in problems("train")[:2]] == [((5, 7, 10), 35), ((1, 6, 7), 43)]


def test_rows() -> None:
    rows = generate("reach", 5, 0, {"part": "eval"})
    assert rows == generate("reach", 5, 0, {"part": "eval"})
    assert rows != generate("reach", 5, 1, {"part": "eval"})
    for row, problem in zip(rows, problems("eval"), strict=False):
        assert sorted(map(int, row["numbers"].split())) == list(problem.numbers)
        assert row["question"] == f"{row['numbers']} get {problem.target} :"
        assert row["answer"] == str(problem.target)


def test_more_rows_than_there_are() -> None:
    with pytest.raises(UsageError, match="401 rows, but part eval has 400"):
        generate("reach", 401, 0, {"part": "eval"})
    with pytest.raises(UsageError, match="part"):
        generate("reach", 5, 0, {"part": "test"})
