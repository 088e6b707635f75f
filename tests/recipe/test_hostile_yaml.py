"""Recipes from another person: aliases that multiply, parts that hold themselves, numbers without end."""

from __future__ import annotations

import time

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe.load import load
from prerlkit.recipe.overrides import apply
from prerlkit.recipe.yaml_text import read

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        BOMB.replace("[", "{k: [").replace("]", "]}"),
        "name: &a\n  <<: *a\n",
        "name: &a [*a]\n",
        "base: &b {<<: *b, x: 1}\nname: x\n",
        f"seed: {'9' * 5_000}\n",
        f"seed: 0x{'f' * 300_000}\n",
        f"seed: 1e{'9' * 5_000}\n",
        "seed: 2020-99-99\n",
        "? [a, b]\n: 1\n? {c: d}\n: 2\n",
        "name: !!python/object/apply:os.system [true]\n",
        "name: !!set {a, b}\nseed: !!binary '%%%'\n",
        "name: " + "[" * 300 + "]" * 300,
        "name: " + "x" * 2_000_000,
        "".join(f"k{n}: {n}\n" for n in range(60_000)),
        "seed: !!int abc\n",
        "seed: !!timestamp abc\n",
    ],
    ids=range(17),
)
def test_hostile_yaml_is_one_error_in_bounded_time(text, tmp_path):
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    begun = time.process_time()
    with pytest.raises(UsageError) as caught:
        load(str(path))
    assert time.process_time() - begun < 30
    assert len(str(caught.value)) < 5_000


def test_what_is_meant_is_still_read(tmp_path):
    assert read("a: &x {k: [1, 2.5, yes, null, 'b']}\nb: {<<: *x, n: *x}\n") == {
        "a": {"k": [1, 2.5, "yes", None, "b"]},
        "b": {"k": [1, 2.5, "yes", None, "b"], "n": {"k": [1, 2.5, "yes", None, "b"]}},
    }
    with pytest.raises(UsageError, match="is not YAML: it has more than 50,000 values"):
        apply({}, [f"x={BOMB}"])
    with pytest.raises(UsageError, match="is not YAML: a value in it can't be read"):
        apply({}, [f"x={'9' * 5_000}"])
