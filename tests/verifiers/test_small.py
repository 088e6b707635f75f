"""The small verifiers where their gold cases can't reach: exact scores, missing packages, the network, odd input."""

from __future__ import annotations

import importlib.util
import json

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import FoundVerifier, known, make

NASTY = ["\ud800 lone", "null \x00 byte", "x" * 2**20, "{" * 2**18, "<think>" * 50_000, "(A)" * 100_000, "", " \n"]
SETTINGS = {
    "math": {},
    "regex": {"must_match": ["a"]},
    "format": {},
    "length": {"max_tokens": 100},
    "choice": {},
    "json_schema": {"rules": {"type": "object"}},
    "reasoning_gym": {},
    "python": {"function": "prerlkit.verifiers.python:_equal"},
}


@pytest.mark.parametrize(
    ("tokens", "score", "passed"),
    [(0, 1.0, True), (80, 1.0, True), (85, 0.75, True), (90, 0.5, True), (100, 0.0, True), (130, 0.0, False)],
)
def test_length_falls_by_a_line_within_the_buffer(tokens, score, passed):
    """DAPO, eq. 13, plus 1: L_max 100, L_cache 20."""
    verdict = make("length", {"max_tokens": 100}).judge(
        VerifierInput("", "x", tokens=tokens) if tokens else VerifierInput("", "")
    )
    assert (verdict.score, verdict.passed) == (pytest.approx(score), passed)
    assert make("length", {"max_tokens": 100, "buffer": 20}).judge(VerifierInput("", "x", tokens=90)).score == 0.5


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("length", {}, "setting max_tokens: Field required"),
        ("length", {"max_tokens": 10, "buffer": 11}, "buffer .11. is above max_tokens"),
        ("format", {"tags": []}, "setting tags"),
        ("format", {"tags": ["a", "a"]}, "a tag is named twice"),
        ("format", {"tags": ["<a>"]}, r"setting tags\.0"),
        ("choice", {"options": 1}, "setting options"),
        ("json_schema", {}, "give rules, or the column"),
        ("json_schema", {"rules": {"type": "objekt"}}, "setting rules: no valid JSON Schema"),
    ],
)
def test_wrong_settings_are_refused(name, settings, message):
    with pytest.raises(UsageError, match=message):
        make(name, settings)


@pytest.mark.parametrize(("name", "package"), [("json_schema", "jsonschema"), ("reasoning_gym", "reasoning_gym")])
def test_a_missing_package_stops_the_start_and_says_what_to_install(name, package, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == package else real(asked))
    with pytest.raises(PrerlkitError, match=rf"pip install 'prerlkit\[{name.replace('_', '-')}\]'") as caught:
        make(name, SETTINGS[name])
    assert caught.value.exit_code == 1


def test_json_schema_fetches_no_reference_from_elsewhere(monkeypatch):
    import urllib.request

    def refuse(*args, **options):
        raise AssertionError("it asked the network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    use = VerifierConfig(name="json_schema", settings={"rules": {"$ref": "http://127.0.0.1:9/schema.json"}})
    verifier = make(use.name, use.settings)
    with pytest.raises(Exception, match="Unresolvable"):
        verifier.judge(VerifierInput("", "{}"))
    with Runner([use], workers=1) as runner:
        assert runner.judge([VerifierInput("", "{}")])[0].passed is None


@pytest.mark.parametrize("task", ["chain_sum", "gcd", "spell_backward", "simple_equations", "number_sorting"])
def test_reasoning_gym_tasks_pass_their_own_answers_after_a_trip_through_json(task):
    from prerlkit.data.sources import load_rows
    from prerlkit.recipe.sources import ReasoningGymSource

    rows = json.loads(json.dumps(load_rows(ReasoningGymSource(kind="reasoning_gym", task=task, rows=5), folder=None)))
    verifier = make("reasoning_gym", {})
    for row in rows:
        text = verifier.gold_completion(row["answer"], row)
        assert verifier.judge(VerifierInput("", text, row["answer"], row)).score == 1.0
        wrong = verifier.judge(VerifierInput("", "<answer>zzz</answer>", row["answer"], row))
        assert (wrong.score < 0.5, wrong.passed) == (True, False)


def test_partial_false_takes_a_tasks_small_change_away():
    row = {"task": "chain_sum", "question": "", "answer": "7", "metadata": {}}
    some = make("reasoning_gym", {}).judge(VerifierInput("", "it is 7, I think", "7", row))
    assert 0 < some.score < 1
    assert make("reasoning_gym", {"partial": False}).judge(VerifierInput("", "it is 7, I think", "7", row)).score == 0.0


def test_format_puts_an_answer_tag_around_an_answer_once():
    verifier = make("format", {})
    assert verifier.dress("<answer>4</answer>") == verifier.dress("4") == "<think>So it is.</think>\n<answer>4</answer>"


def test_what_format_asks_for_it_can_write_itself():
    for settings in ({}, {"min_characters": 40}, {"tags": ["plan", "code", "answer"]}, {"outside": True}):
        verifier = make("format", settings)
        for text in ("7", "", "a long enough answer, whatever is asked for here"):
            assert verifier.judge(VerifierInput("", verifier.dress(text))).passed


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_nasty_completions_get_a_verdict_in_time(name):
    """A pass, a fail or unjudged, within the limit, and none of them passes as an answer."""
    row = {"task": "chain_sum", "question": "", "answer": "B", "metadata": {}}
    samples = [VerifierInput("", text, "B", row, tokens=200) for text in NASTY]
    with Runner([VerifierConfig(name=name, settings=SETTINGS[name], timeout=30.0)], workers=1) as runner:
        verdicts = runner.judge(samples)
        stats = runner.stats()[name]
    assert (stats.timeouts, stats.crashes) == (0, 0), verdicts
    if name != "regex":
        assert [v.passed for v in verdicts if v.passed] == []


def test_every_built_in_verifier_is_in_these_tables():
    found = {
        name for name, one in known().items() if isinstance(one, FoundVerifier) and "prerlkit.verifiers" in one.origin
    }
    assert set(SETTINGS) <= found
    assert found - set(SETTINGS) <= {
        "code",
        "environment",
        "judge",
        "reach",
    }  # they have tests or gold cases of their own
