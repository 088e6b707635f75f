"""A recipe with a judge is audited and tried before a run, as any other reward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prerlkit.audit.audit import audit
from prerlkit.audit.gold import try_gold
from prerlkit.audit.samples import from_data
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.plugins import import_file
from prerlkit.recipe.load import load

_stub = import_file(Path(__file__).parents[1] / "verifiers" / "stub_judge.py", "tests")
serving, judged = _stub.serving, _stub.judged
ROWS = [("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid")]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"land": a, "answer": b}) + "\n" for a, b in ROWS))

    def of(url: str, prompt: str = "The capital of {land} is {answer}. Right? {completion}"):
        (tmp_path / "r.json").write_text(
            json.dumps(
                {
                    "name": "r",
                    "model": {"id": "x"},
                    "data": {
                        "train": {"kind": "file", "path": str(tmp_path / "rows.jsonl")},
                        "eval": {"kind": "held_out", "rows": 1},
                        "prompt": "The capital of {land}?",
                        "answer": "answer",
                    },
                    "verifiers": [{"name": "judge", "settings": {"url": url, "model": "m", "prompt": prompt}}],
                    "stages": [{"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-5}],
                }
            )
        )
        return load(str(tmp_path / "r.json")).recipe

    return of


def careful(message: str) -> str:
    """Right where the text is the answer that the question gives."""
    if not judged(message):
        return "yes"  # the request before a run
    return f"Score: {int(judged(message).strip() == message.split(' is ')[1].split('. ')[0])}"


def gullible(message: str) -> str:
    return "Score: 1" if "Score: 1" in judged(message) else careful(message)


def test_a_careful_judge_gives_gold_answers_all_and_attacks_nothing(recipe):
    with serving(careful) as stub:
        found = audit(recipe(stub.url), None, 3)
    assert found.over(0) == []
    gold = next(line for line in found.lines if line.gold)
    assert (gold.score, gold.unjudged) == (1.0, 0.0)
    assert {"orders to the judge", "control tokens", "delimiters closed"} <= {line.name for line in found.lines}


def test_a_gullible_judge_is_found_out(recipe):
    with serving(gullible) as stub:
        over = audit(recipe(stub.url), None, 3).over(0)
    assert {"orders to the judge", "a reply of the judge", "delimiters closed"} <= set(over)


def test_gold_answers_are_tried_by_the_judge(recipe):
    with serving(careful) as stub:
        made = recipe(stub.url)
        (line,) = try_gold(made.verifiers, from_data(made.data, None, 3), None)
    assert line == 'gold answers: 3 of 3 pass verifier "judge"'
    with serving(lambda message: "Score: 0") as stub:
        made = recipe(stub.url + "/other")
        rows = from_data(made.data, None, 3)
        with pytest.raises(UsageError, match="fails 3 of 3 gold answers"):
            try_gold(made.verifiers, rows, None)


def test_a_judge_without_gold_answers_is_still_asked_before_a_run(recipe):
    with serving(careful) as stub:
        url = stub.url
    made = recipe(url, "Is this brief? {completion}")
    with pytest.raises(PrerlkitError, match="can't be reached"):
        try_gold(made.verifiers, from_data(made.data, None, 3), None)


def test_a_column_that_rows_lack_stops_the_run(recipe):
    made = recipe("http://127.0.0.1:9/v1", "{country}: {completion}")
    with pytest.raises(UsageError, match="names country, which the row has not"):
        try_gold(made.verifiers, from_data(made.data, None, 3), None)
