"""`prerlkit eval` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FAST = ("--dtype", "float32", "--device", "cpu", "--max-new-tokens", "3")
REGEX = "{name: regex, settings: {must_match: ['[0-9A-Z]']}}"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"{i} + 1", "sum": i + 1}) + "\n" for i in range(4)))
    return path


def test_figures_as_a_table_and_as_json(invoke, tiny_model, rows):
    asked = ("eval", tiny_model, "--data", rows, "--verifier", REGEX, "--prompt", "{text}?", "--answer", "sum", *FAST)
    done = invoke(*asked, "-k", "4", "-o", "out")
    assert done.returncode == 0, done.stderr
    said = ("rows, 95 % intervals", "greedy accuracy", "avg@4", "pass@2", "maj@4", "not known", "reflection thoughts")
    for words in (*said, "maj@k is not known: the verifier returns no answer"):
        assert words in done.stdout
    again = invoke(*asked, "-k", "4", "-o", "out", "--json")
    figures = json.loads(again.stdout)
    assert figures["targets"][0]["completions"] == 20
    assert "accuracy" in figures["targets"][0]["metrics"]
    assert figures["targets"][0]["seconds"] == 0
    line = json.loads(next(iter((rows.parent / "out").glob("*/samples.jsonl"))).read_text().splitlines()[0])
    assert {"kind", "prompt_id", "prompt", "answer", "completions"} <= set(line)


def test_a_run_and_its_base_are_compared(invoke, recipe_file):
    assert invoke("run", recipe_file(), "-o", "run", "--quiet").returncode == 0
    done = invoke("eval", "run", "--with-base", "-k", "4")
    assert done.returncode == 0, done.stderr
    assert "run minus" in done.stdout
    assert "better" in done.stdout
    assert "results evals/tiny/results.json" in done.stdout


def test_presets_are_listed_without_torch(prerlkit):
    done = prerlkit("eval", "--list")
    assert done.returncode == 0
    for name in ("math500", "aime24", "aime25", "amc23", "gsm8k", "humaneval", "mbpp", "HuggingFaceH4/MATH-500"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "What should be evaluated?"),
        (("nowhere/at-all/x",), 'there is no folder "nowhere/at-all/x"'),
        (("m", "--pass-at", "one"), "not a list of numbers"),
        (("m", "--data", "{kind: ["), "not YAML"),
        (("m", "--set", "seed=1"), "--set changes a recipe"),
    ],
)
def test_mistakes_are_explained(invoke, args, words):
    done = invoke("eval", *args)
    assert done.returncode == 2
    assert words in done.stderr


def test_the_api_is_there_and_importing_it_is_light():
    code = (
        "import sys, prerlkit; assert {'run', 'load_policy', 'evaluate'} <= set(dir(prerlkit));"
        "assert not {'torch', 'transformers', 'pydantic', 'prerlkit.api'} & set(sys.modules);"
        "prerlkit.evaluate; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
