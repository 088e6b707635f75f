"""`prerlkit recipes init`: a copy of a packaged recipe, or a recipe for the rows of a file, that validates at once."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from prerlkit.cli.app import app
from prerlkit.data.sources import load_rows
from prerlkit.data.template import Template
from prerlkit.recipe.load import load


@pytest.fixture
def init(tmp_path, monkeypatch):
    """A function that calls `recipes init mine.yaml` in a folder with rows.jsonl, and gives the result."""
    monkeypatch.chdir(tmp_path)
    rows = [{"problem": f"What is {n} + 2?", "solution": f"{n + 2}", "level": n} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*words: str):
        return CliRunner().invoke(app, ["recipes", "init", "mine.yaml", *words])

    return run


DATA = ("--data", "rows.jsonl", "--answer", "solution", "--verifier")


def test_a_recipe_for_a_file_validates_and_can_be_rendered(init):
    done = init(*DATA, "math")
    assert done.exit_code == 0, done.output
    assert "prerlkit run mine.yaml --dry-run" in done.output
    loaded = load("mine.yaml")
    recipe = loaded.recipe
    assert (recipe.name, recipe.data.answer, recipe.verifiers[0].name) == ("mine", "solution", "math")
    assert recipe.data.eval.rows == 2
    row = load_rows(recipe.data.train, folder=loaded.folder)[0]
    assert Template(recipe.data.prompt).fill(row, "row 0") == r"What is 0 + 2? Put the final answer in \boxed{}."
    checked = CliRunner().invoke(app, ["recipes", "validate", "mine.yaml"])
    assert checked.exit_code == 0, checked.output


def test_the_model_the_prompt_and_settings_of_the_verifier_are_taken(init):
    rules = "{name: regex, settings: {pattern: 'A: (.*)'}}"
    done = init(*DATA, rules, "--prompt", "{problem} Answer as A: …", "--model", "Qwen/Qwen3-0.6B")
    assert done.exit_code == 0, done.output
    recipe = load("mine.yaml").recipe
    assert recipe.model.id == "Qwen/Qwen3-0.6B"
    assert recipe.data.prompt == "{problem} Answer as A: …"
    assert recipe.verifiers[0].settings == {"pattern": "A: (.*)"}


def test_solutions_that_end_as_those_of_gsm8k_get_the_pattern(init, tmp_path):
    rows = [{"question": f"{n}?", "answer": f"So\n#### {n}"} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert init("--data", "rows.jsonl", "--answer", "answer", "--verifier", "math").exit_code == 0
    assert load("mine.yaml").recipe.data.answer_pattern == "#### (.*)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "rows.jsonl", "--answer", "solutoin", "--verifier", "math"), 'did you mean "solution"?'),
        (("--data", "rows.jsonl", "--answer", "gold", "--verifier", "math"), "(known: level, problem, solution)"),
        ((*DATA, "math", "--prompt", "question"), "rows.jsonl has no column question"),
        ((*DATA, "mth"), 'did you mean "math"?'),
        ((*DATA, "regex"), "give must_match, must_not_match or pattern"),
        (("--data", "rows.jsonl", "--verifier", "math"), "needs a gold answer"),
        ((*DATA, "{settings: {}}"), "verifiers[0].name: this key is required"),
        ((*DATA, "{name: choice, setings: {}}"), 'did you mean "settings"?'),
        ((*DATA, "math", "--prompt", "Q: {problm}"), 'did you mean "problem"?'),
        ((*DATA, "math", "--prompt", "Q: {problem"), "Write {{ and }} for literal braces"),
        ((*DATA, "math", "--model", ""), "--model is empty"),
        (("--data", "rows.jsonl"), "Which verifier judges the answers?"),
        (("--data", "none.jsonl", "--verifier", "math"), "no such file"),
        (("--verifier", "math"), "belong to --data"),
        ((*DATA, "math", "--from", "smoke"), "exclude each other"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(init, tmp_path, words, said):
    done = init(*words)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "mine.yaml").exists()


def test_a_file_whose_question_is_not_known_by_its_name_asks_for_it(init, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": "1", "b": "2", "solution": "3"}\n' * 3)
    output = " ".join(init(*DATA, "math").output.split())
    assert "It has a, b, solution" in output
    assert "Add --prompt COLUMN." in output


def test_without_data_it_is_a_copy_of_a_packaged_one(init):
    assert init("--from", "smoke").exit_code == 0
    assert load("mine.yaml").recipe.name == "mine"


@pytest.mark.parametrize("words", [(), (*DATA, "math")])
@pytest.mark.parametrize("file", ["my task.yaml", "Übung.yaml", "true.yaml", "_.yaml", "1e3.yaml"])
def test_any_name_of_a_file_gives_a_valid_recipe(init, file, words):
    init()
    done = CliRunner().invoke(app, ["recipes", "init", file, *words])
    assert done.exit_code == 0, done.output
    assert load(f"./{file}").recipe.name


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"problem": "1?", "solution": [1, 2]}, 'column "solution" holds a list'),
        ({"problem": {"text": "1?"}, "solution": "1"}, 'column "problem" holds a dict'),
        ({"problem": "1?", "solution": None}, "No row of rows.jsonl has a value in each of problem, solution."),
        ({"q.a": "1?", "solution": "1"}, "is not a plain {column}"),
    ],
)
def test_rows_that_no_run_could_render_are_refused(init, tmp_path, row, said):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    done = init(*DATA, "math")
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "mine.yaml").exists()


def test_a_column_with_braces_in_its_name_is_a_column(init, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"problem": "1?", "{x}": "1", "x": "2"}\n' * 3)
    done = init("--data", "rows.jsonl", "--answer", "{x}", "--verifier", "math", "--prompt", "problem")
    assert done.exit_code == 0, done.output


def test_a_csv_without_commas_is_named_as_such(init, tmp_path):
    (tmp_path / "rows.csv").write_text("problem;solution\n1?;1\n2?;2\n")
    done = init("--data", "rows.csv", "--answer", "solution", "--verifier", "math")
    assert "Save it with commas between the values." in " ".join(done.output.split())


def test_a_recipe_in_another_folder_names_the_verifiers_file_from_anywhere(init, tmp_path):
    (tmp_path / "mine.py").write_text("def judge(completion, answer):\n    return completion == answer\n")
    (tmp_path / "inner").mkdir()
    done = CliRunner().invoke(app, ["recipes", "init", "inner/a.yaml", *DATA, "mine.py:judge"])
    assert done.exit_code == 0, done.output
    assert load("inner/a.yaml").recipe.verifiers[0].name == f"{tmp_path.resolve() / 'mine.py'}:judge"
    assert init(*DATA, "mine.py:judge").exit_code == 0
    assert load("mine.yaml").recipe.verifiers[0].name == "mine.py:judge"
