"""Answers that are evaluated: arithmetic works, and nothing that a model writes runs as code."""

from __future__ import annotations

import contextlib
import os

import pytest

from prerlkit.verify import VerifierInput
from prerlkit.verify.mathematics.expressions import evaluate
from prerlkit.verify.registry import make

RG = ("countdown", "puzzle24", "simple_integration", "intermediate_integration", "polynomial_multiplication",
      "n_queens", "binary_matrix", "spiral_matrix", "string_insertion", "number_sorting", "propositional_logic",
      "bitwise_arithmetic", "basic_arithmetic", "codeio", "gsm_symbolic")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [("(1 + 2) * 3 ** 2", 27), ("[[1, 0], [0, 1]]", [[1, 0], [0, 1]]), ("'a'", "a"), ("-7 // 2", -4), ("6 & 3", 2)],
)
def test_arithmetic_and_literals_are_evaluated(text, value):
    assert evaluate(text) == value


ATTACKS = [
    "__import__('os').system('touch {mark}')",
    "().__class__.__base__.__subclasses__()",
    "Symbol('x').func.__init__.__globals__['__builtins__']['__import__']('os').system('touch {mark}')",
    "(lambda: open('{mark}', 'w'))()",
    "[open('{mark}', 'w') for _ in (1,)]",
    "open('{mark}', 'w')",
    "eval(chr(111) + chr(112))",
    'exec(\'open("{mark}", "w")\')',
    'sympify(\'__import__("os").system("touch {mark}")\')',
    'S(\'__import__("os").system("touch {mark}")\')',
    "lambdify(x, 'x')",
    "f'{{().__class__}}'",
    "x := 3",
    "(" * 10_000,
]


@pytest.mark.parametrize("text", ATTACKS)
def test_everything_else_is_refused(text, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(ValueError, match=r"not evaluated|no expression"):
        evaluate(text.format(mark=mark))
    assert not mark.exists()


@pytest.mark.parametrize("task", RG)
def test_no_reasoning_gym_task_runs_an_answer_and_each_still_passes_its_own(task, tmp_path):
    from prerlkit.data.sources import load_rows
    from prerlkit.recipe.sources import ReasoningGymSource

    mark = tmp_path / "mark"
    rows = load_rows(ReasoningGymSource(kind="reasoning_gym", task=task, rows=2), folder=None)
    verifier = make("reasoning_gym", {"extract": "whole"})
    for row in rows:
        for text in ATTACKS:
            passed = None
            with contextlib.suppress(Exception):  # the runner makes it unjudged
                passed = verifier.judge(VerifierInput("", text.format(mark=mark), "", row)).passed
            assert not passed
            assert not mark.exists()
        if isinstance(row["answer"], str):
            assert verifier.judge(VerifierInput("", row["answer"], "", row)).passed, row


@pytest.mark.parametrize("answer", ["9**9**9**9", "(9^9)^9^9 + 1", "99999999!", "9" * 100_000, "1" + "+1" * 3000])
def test_an_answer_too_large_to_work_out_fails_at_once(answer):
    """Unjudged, as the time limit would have it, would be a way out of a bad mark."""
    from prerlkit.data.sources import load_rows
    from prerlkit.recipe.schema import VerifierConfig
    from prerlkit.recipe.sources import ReasoningGymSource
    from prerlkit.verify.pool.runner import Runner

    (row,) = load_rows(ReasoningGymSource(kind="reasoning_gym", task="countdown", rows=1), folder=None)
    with Runner([VerifierConfig(name="reasoning_gym", timeout=2.0)], workers=1) as runner:
        (verdict,) = runner.judge([VerifierInput("", f"<answer>{answer}</answer>", "", row)])
    assert verdict.passed is False, verdict.reason


def test_right_answers_by_another_way_still_count():
    """Integrals are compared by sympy: C, x, powers and functions must get through."""
    from reasoning_gym.factory import create_dataset

    entry = {**create_dataset("simple_integration", size=1, seed=3)[0]}
    row = {"task": "simple_integration", **entry}
    variable = entry["metadata"]["variable"]
    verifier = make("reasoning_gym", {})
    assert verifier.judge(VerifierInput("", f"<answer>{entry['answer']} + 3 - 2*C</answer>", "", row)).passed
    assert not verifier.judge(
        VerifierInput("", f"<answer>{entry['answer']} + sin({variable})</answer>", "", row)
    ).passed


def test_it_is_undone_afterwards():
    import reasoning_gym.games.n_queens as module
    from sympy.parsing import sympy_parser

    before = sympy_parser.eval_expr
    test_right_answers_by_another_way_still_count()
    assert sympy_parser.eval_expr is before
    assert "eval" not in vars(module)
    assert eval("os.name", {"os": os}) == os.name
