"""Each kind of wrong answer is caught where a verifier lets it pass, and none is reported of a right verifier."""

from __future__ import annotations

import json
import re

import pytest

from prerlkit.audit.attacks import attacks
from prerlkit.audit.audit import audit
from prerlkit.audit.changed_gold import CONSTANTS, changes, constants
from prerlkit.audit.public_tests import hard_coded
from prerlkit.audit.samples import AuditRow
from prerlkit.recipe.schema import Recipe
from prerlkit.verify import VerifierInput
from prerlkit.verify.code_tests.function import from_function
from prerlkit.verify.registry import make

GOLDS = ["4", r"7\text{ km}", "3x^4", r"50\%", "-9", r"\frac{3}{8}", "y+5"]


def equal(completion: str, answer: str) -> bool:
    """A right verifier: the text itself, with `x =` before it or not."""
    return completion.removeprefix("x = ") == answer


def without(pattern: str):
    """A verifier that deletes what a pattern finds, on both sides."""

    def weak(completion: str, answer: str) -> bool:
        return re.sub(pattern, "", completion) == re.sub(pattern, "", answer)

    return weak


def right_side(completion: str, answer: str) -> bool:
    return completion.rpartition("=")[2].strip() == answer


def any_percent(completion: str, answer: str) -> bool:
    found = re.fullmatch(r"(\d+)\\%", completion)
    gold = re.fullmatch(r"(\d+)\\%", answer)
    return bool(found and gold and float(found[1]) in (float(gold[1]), 100 * float(gold[1])))


def or_constant(constant: str):
    """A verifier that holds one text equal to everything, as `x^2+1=0` is where no solution has to be compared."""

    def weak(completion: str, answer: str) -> bool:
        return completion in (constant, answer)

    return weak


def passed(judge) -> set[str]:
    """The attacks that a verifier passes on some row."""
    verifier = from_function(judge, "weak")
    made = verifier(verifier.Settings())
    rows = [AuditRow(f"train/{i}", VerifierInput("", "", gold)) for i, gold in enumerate(GOLDS)]
    tried = attacks(rows, [made])
    return {one.name for one in tried if not one.gold and any(made.judge(sample).passed for sample in one.samples)}


@pytest.mark.parametrize(
    ("weak", "name"),
    [
        (without("[a-z]"), "gold, another letter"),
        (without("[a-z]"), "gold, a letter added"),
        (without(r"\^\S+|[()]"), "gold, another exponent"),
        (without("^-"), "gold, another sign"),
        (without(r"\\text\{[^{}]*\}"), "gold, another unit"),
        (without(r"\\text\{[^{}]*\}"), "gold, millions of it"),
        (any_percent, "gold times 100 as percent"),
        (right_side, "2x = gold"),
        (right_side, "x - 1 = gold"),
        *((or_constant(group[0]), f"constant: {group[0]}") for group in CONSTANTS),
    ],
)
def test_a_weak_verifier_is_caught_by_the_kind_that_it_lets_pass(weak, name):
    assert name in passed(weak)


def test_a_right_verifier_is_not_caught():
    assert passed(equal) == set()


@pytest.mark.parametrize(
    ("gold", "wrong"),
    [
        ("3x^4", {"gold, another letter": "3z^4", "gold, another exponent": "3x^{5}"}),
        (r"7\text{ km}", {"gold, another unit": r"7\text{ kg}"}),
        (r"90^\circ", {"gold, another unit": r"90\text{ kg}"}),
        (r"50\%", {"gold times 100 as percent": r"5000\%"}),
        ("-9", {"gold, another sign": "9", "gold, another exponent": "(-9)^2", "2x = gold": "2x = -9"}),
        ("1", {"gold, another sign": "-1", "gold, a letter added": "1x"}),
        ("0", {}),
        ("B", {"gold, another letter": "A"}),
        (r"\text{blue}", {}),
        ("1^2", {}),
    ],
)
def test_one_change_makes_another_answer(gold, wrong):
    made = changes(gold)
    assert {name: made.get(name) for name in wrong} == wrong
    assert wrong or made == {}
    assert gold not in made.values()


@pytest.mark.parametrize(
    ("gold", "constant"),
    [
        ("0", "0"),
        ("0.0", "0"),
        ("x = 1", "1"),
        (r"1\text{ km}", "1"),
        (r"100\%", "1"),
        (r"2^\circ", "2"),
        ("(A)", "A"),
        ("{(A)}", "A"),
        (r"\varnothing", r"\emptyset"),
        (r"\frac{2}{1}", "2"),
        ("$-1$", "-1"),
    ],
)
def test_a_constant_is_no_attack_on_a_row_whose_answer_it_is(gold, constant):
    assert f"constant: {constant}" not in constants(gold)
    assert len(constants(gold)) == len(CONSTANTS) - 1


@pytest.mark.parametrize(
    ("name", "settings", "golds"),
    [
        ("choice", {}, "ABCD"),
        ("choice", {"gold": "from_0"}, "0123"),
        ("math", {}, ["4", "-9", "17", "250"]),
    ],
)
def test_the_built_in_verifiers_pass_none_on_plain_answers(name, settings, golds):
    verifier = make(name, settings)
    rows = [AuditRow(f"train/{i}", VerifierInput("", "", gold)) for i, gold in enumerate(golds)]
    kinds = re.compile(r"constant|gold, (?!bare)|gold times|2x|x -")
    tried = [one for one in attacks(rows, [verifier]) if kinds.match(one.name)]
    assert len(tried) > 15
    assert [one.name for one in tried if any(verifier.judge(sample).passed for sample in one.samples)] == []


STDIN = {
    "question": "Read x, print x + 2.",
    "public_test_cases": json.dumps([{"input": "1\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": json.dumps([{"input": "5\n", "output": "7\n", "testtype": "stdin"}]),
}
CALL = {
    "question": "Add two numbers.",
    "metadata": json.dumps({"func_name": "add"}),
    "public_test_cases": json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}]),
    "private_test_cases": json.dumps([{"input": "5\n7", "output": "12", "testtype": "functional"}]),
}


@pytest.mark.parametrize("row", [STDIN, CALL], ids=["stdin", "function"])
def test_a_program_that_knows_the_public_tests_is_caught_where_only_those_are_run(row):
    program = hard_coded(row)
    assert program is not None
    verifier = make("code", {})
    assert verifier.judge(VerifierInput("", program, "", row)).passed is False
    public_only = {name: value for name, value in row.items() if name != "private_test_cases"}
    assert verifier.judge(VerifierInput("", program, "", public_only)).passed is True
    assert hard_coded(public_only) is None


def test_the_audit_names_each_kind_in_its_table(tiny_recipe, tmp_path):
    rows = [{"question": f"q{gold}", "answer": gold, **STDIN} for gold in "4679"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "weak.py").write_text(
        "from prerlkit.verify import judges\n\n\n@judges\n"
        "def weak(completion, answer):\n    return completion.rpartition('=')[2].strip() == answer\n"
    )
    data = {"train": {"kind": "file", "path": str(tmp_path / "rows.jsonl")}, "eval": {"kind": "held_out", "rows": 1}}
    recipe = Recipe.model_validate(tiny_recipe(data=data, verifiers=[{"name": f"{tmp_path}/weak.py:weak"}]))
    result = audit(recipe, None, 4)
    assert {"2x = gold", "x - 1 = gold"} <= set(result.over(0.0))
    assert {"constant: x^2+1=0", "gold, another sign", "public tests only"} <= {line.name for line in result.lines}
    assert "gold, another sign" not in result.over(0.0)
