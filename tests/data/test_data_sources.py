"""Sources: each kind gives plain rows, and each way to get it wrong says what to do."""

import builtins
import datetime
import fractions
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from prerlkit.data.sources import load_rows
from prerlkit.data.template import Answer, as_text
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.sources import FileSource, GeneratorSource, HubSource, ReasoningGymSource

GSM8K = HubSource(kind="hub", id="openai/gsm8k", config="main", revision="abc")


def test_a_file_is_found_from_the_working_directory_then_from_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, recipe = tmp_path / "here", tmp_path / "recipe"
    for folder in (here, recipe):
        folder.mkdir()
        (folder / "both.jsonl").write_text(json.dumps({"where": folder.name}))
    (recipe / "one.jsonl").write_text('{"where": "only recipe"}')
    monkeypatch.chdir(here)
    assert load_rows(FileSource(kind="file", path="both.jsonl"), folder=recipe) == [{"where": "here"}]
    assert load_rows(FileSource(kind="file", path="one.jsonl"), folder=recipe) == [{"where": "only recipe"}]
    with pytest.raises(UsageError, match=r"(?s)no such file: .*here/on\.jsonl and .*recipe/on\.jsonl.*one\.jsonl"):
        load_rows(FileSource(kind="file", path="on.jsonl"), folder=recipe)
    with pytest.raises(UsageError, match="no such file"):
        load_rows(FileSource(kind="file", path="one.jsonl"), folder=None)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(UsageError, match=r"file .*a\.jsonl has no rows"):
        load_rows(FileSource(kind="file", path=str(tmp_path / "a.jsonl")), folder=None)


def test_a_generator_is_reached_with_its_settings() -> None:
    rows = load_rows(
        GeneratorSource(kind="generator", name="arithmetic", rows=1, settings={"low": 3, "high": 3}), folder=None
    )
    assert rows == [{"question": "What is 3 + 3?", "answer": "6", "expression": "3 + 3"}]


def test_hub_rows_come_with_all_that_was_asked_and_as_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(path: str, **options: Any) -> list[dict]:
        asked.update(path=path, **options)
        return [{"q": "x", "when": datetime.date(2026, 1, 2), "half": fractions.Fraction(1, 2), "pair": (1, {2: None})}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_rows(GSM8K, folder=None) == [{"q": "x", "when": "2026-01-02", "half": "1/2", "pair": [1, {"2": None}]}]
    assert asked == {"path": "openai/gsm8k", "name": "main", "split": "train", "revision": "abc"}


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (ValueError("BuilderConfig 'mian' not found. Available: ['main']"), UsageError, "gsm8k.*Available"),
        (datasets.exceptions.DatasetNotFoundError("doesn't exist"), UsageError, "(?s)gsm8k.*hf auth login"),
        (datasets.exceptions.DatasetGenerationError("broken"), UsageError, "gsm8k.*broken"),
        (ConnectionError("Couldn't reach it"), PrerlkitError, "(?s)gsm8k.*ConnectionError.*Check the network"),
    ],
)
def test_hub_failures_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type, words: str
) -> None:
    def load(path: str, **options: Any) -> None:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(PrerlkitError, match=words) as caught:
        load_rows(GSM8K, folder=None)
    assert type(caught.value) is expected


@pytest.mark.parametrize("wrong", ["json", "a/b/c", "./rows", ""])
def test_a_hub_id_is_owner_and_name(wrong: str) -> None:
    with pytest.raises(UsageError, match="not the id of a data set"):
        load_rows(HubSource(kind="hub", id=wrong), folder=None)


def test_reasoning_gym_rows_hold_what_the_tasks_scorer_needs() -> None:
    from reasoning_gym.factory import get_score_answer_fn

    source = ReasoningGymSource(kind="reasoning_gym", task="gcd", rows=3, seed=1, settings={"max_value": 50})
    rows = load_rows(source, folder=None)
    assert len(rows) == 3
    for row in rows:
        assert row["task"] == "gcd"
        assert max(row["metadata"]["numbers"]) <= 50
        assert json.loads(json.dumps(row)) == row
        assert get_score_answer_fn(row["task"])(row["answer"], row) == 1.0
        assert get_score_answer_fn(row["task"])("0", row) < 1.0
    assert rows == load_rows(source, folder=None)


@pytest.mark.parametrize(
    ("task", "settings", "words"),
    [
        ("gdc", {}, 'no task "gdc"; did you mean "gcd"'),
        ("gcd", {"min_number": 2}, 'no setting min_number; did you mean "min_numbers"'),
        ("gcd", {"size": 2}, "no setting size"),
        ("gcd", {"min_numbers": 50}, "refuses its settings: max_numbers must be"),
        ("gcd", {"min_numbers": "a"}, "refuses its settings"),
    ],
)
def test_reasoning_gym_settings_are_checked(task: str, settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_rows(ReasoningGymSource(kind="reasoning_gym", task=task, rows=2, settings=settings), folder=None)


def test_reasoning_gym_missing_gives_the_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("reasoning_gym"):
            raise ModuleNotFoundError(name)
        return found(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PrerlkitError, match=r"pip install '.+\[reasoning-gym\]'"):
        load_rows(ReasoningGymSource(kind="reasoning_gym", task="gcd", rows=2), folder=None)


def test_what_pandas_calls_missing_is_missing(tmp_path: Path) -> None:
    """A missing number and a missing text are NaN in a data frame, and the text "nan" is neither."""
    import pandas

    frame = pandas.DataFrame({"question": ["a", "b", "c"], "answer": [12, None, 7], "text": ["x", float("nan"), "nan"]})
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"answer": NaN, "text": "x", "list": [NaN, 1]}\n')
    rows = load_rows(FileSource(kind="file", path=str(tmp_path / "a.parquet")), folder=None)
    assert [row["answer"] for row in rows] == [12.0, None, 7.0]
    assert [row["text"] for row in rows] == ["x", None, "nan"]
    gold = Answer("answer", None)
    assert gold.of(rows[0], "train/0") == "12"
    with pytest.raises(UsageError, match=r'row train/1: the answer column "answer" is empty \(null\)'):
        gold.of(rows[1], "train/1")
    (row,) = load_rows(FileSource(kind="file", path=str(tmp_path / "a.jsonl")), folder=None)
    assert row == {"answer": None, "text": "x", "list": [None, 1]}
    with pytest.raises(UsageError, match=r"is empty \(null\)"):
        as_text(float("nan"), "line 1", "answer")
