"""An audit of `code`: right solutions pass, and no way of cheating scores, in every shape of row."""

from __future__ import annotations

import json

import pytest

from prerlkit.audit.audit import audit
from prerlkit.audit.gold import try_gold
from prerlkit.audit.samples import from_data
from prerlkit.recipe.schema import Recipe

ROWS = {
    "humaneval": [
        {
            "prompt": f'def add{n}(x):\n    """x plus {n}."""\n',
            "entry_point": f"add{n}",
            "canonical_solution": f"    return x + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {1 + n}\n    assert candidate(-5) == {n - 5}\n",
        }
        for n in (2, 3)
    ],
    "mbpp": [
        {
            "text": f"Add {n}.",
            "code": f"def plus(x):\n    return x + {n}",
            "test_list": [f"assert plus(1) == {1 + n}", f"assert plus(-5) == {n - 5}"],
        }
        for n in (2, 3)
    ],
    "apps": [
        {
            "question": f"Read x, print x + {n}.",
            "solutions": json.dumps([f"print(int(input()) + {n})"]),
            "input_output": json.dumps({"inputs": ["1\n", "-5\n"], "outputs": [f"{1 + n}\n", f"{n - 5}\n"]}),
        }
        for n in (2, 3)
    ],
}


@pytest.mark.parametrize(("shape", "prompt"), [("humaneval", "{prompt}"), ("mbpp", "{text}"), ("apps", "{question}")])
def test_right_solutions_pass_and_cheats_do_not(tiny_recipe, tmp_path, shape, prompt):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[shape]))
    data = {"train": {"kind": "file", "path": str(tmp_path / "rows.jsonl")}, "eval": {"kind": "held_out", "rows": 1}}
    recipe = Recipe.model_validate(
        tiny_recipe(data={**data, "prompt": prompt, "answer": None}, verifiers=[{"name": "code", "timeout": 20.0}])
    )
    (line,) = try_gold(recipe.verifiers, from_data(recipe.data, None, 2), None)
    assert line == 'gold answers: 2 of 2 pass verifier "code"'
    result = audit(recipe, None, 2)
    (gold,) = [one for one in result.lines if one.gold]
    assert (gold.score, gold.unjudged) == (1.0, 0.0)
    assert sum(one.name.startswith("code, ") for one in result.lines) >= 7
    assert result.over(0.0) == []
