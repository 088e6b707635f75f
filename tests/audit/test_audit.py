"""An audit finds rewards that can be had without solving, and finds none where there are none."""

from __future__ import annotations

import pytest

from prerlkit.audit.attacks import attacks
from prerlkit.audit.audit import Audit, audit, compare
from prerlkit.audit.samples import AuditRow
from prerlkit.recipe.schema import Recipe, VerifierConfig
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make


@pytest.fixture
def recipe(tiny_recipe, tmp_path):
    """A recipe on sums whose gold answers never stand in their prompts, with the given verifiers."""
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"question": "{n} + {n + 50}", "answer": "{2 * n + 50}"}}\n' for n in range(21, 45))
    )
    source = {"kind": "file", "path": str(tmp_path / "rows.jsonl")}

    def make_recipe(*verifiers: dict, **changes) -> Recipe:
        data = {"train": source, "eval": {"kind": "held_out", "rows": 2}}
        return Recipe.model_validate(tiny_recipe(data=data, verifiers=list(verifiers), **changes))

    return make_recipe


def line(result: Audit, name: str):
    (found,) = [one for one in result.lines if one.name == name]
    return found


def test_a_strict_reward_gives_nothing_away(recipe):
    result = audit(recipe({"name": "math", "settings": {"extract": "boxed"}}), None, 12)
    gold = line(result, "gold")
    assert (gold.score, gold.passed, gold.unjudged, gold.samples) == (1.0, 1.0, 0.0, 12)
    assert line(result, "gold, bare answer").score == 0.0  # no box
    assert result.over(0.0) == []
    assert len(result.lines) >= 20
    assert result.asked > 50


@pytest.fixture
def letters(recipe, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"question": "q{a}", "answer": "{a}"}}\n' for a in "ABCD"))


@pytest.mark.usefixtures("letters")
def test_a_format_that_pays_by_itself_is_found_and_a_gate_closes_it(recipe):
    choice, form = {"name": "choice", "weight": 3.0}, {"name": "format"}
    result = audit(recipe(choice, form), None, 4)
    assert line(result, "gold").score == 1.0  # in tags, in a box
    assert line(result, "tags around a dot").score == 0.25
    assert "tags around a dot" in result.over(0.2)
    assert result.over(0.25) == []
    gated = audit(recipe({"name": "choice"}, {**form, "gate": True}), None, 4)
    assert line(gated, "gold").score == 1.0
    assert gated.over(0.0) == []
    assert "another row's gold, in form" in {one.name for one in gated.lines}


def test_a_careless_rule_is_found_in_several_ways(recipe):
    rule = {"name": "regex", "settings": {"must_match": [r"<think>.*</think>"]}}
    assert "empty think block" in audit(recipe(rule), None, 4).over(0.0)
    careless = {"name": "regex", "settings": {"pattern": r"(\d+) \+", "must_match": [""]}}
    assert audit(recipe(careless), None, 4).over(0.0) == []


def test_a_prompt_that_holds_the_answer_is_found(recipe, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "Say 7", "answer": "7"}\n{"question": "Say 8", "answer": "8"}\n')
    result = audit(recipe({"name": "math", "settings": {"extract": "last_number"}}), None, 2)
    assert "the prompt echoed" in result.over(0.0)
    assert "Say 7" in line(result, "the prompt echoed").example


def test_data_without_answers_has_no_gold_to_compare_with():
    rows = [AuditRow("train/0", VerifierInput("Sing.", "")), AuditRow("train/1", VerifierInput("Dance.", ""))]
    tried = attacks(rows, [make("format", {})])
    assert [attack.name for attack in tried if attack.gold] == []
    assert "nothing" in {attack.name for attack in tried}


def test_naming_all_answers_is_tried_with_the_rows_own_not_last():
    rows = [AuditRow(f"train/{i}", VerifierInput("", "", answer)) for i, answer in enumerate("1234")]
    tried = {attack.name: attack for attack in attacks(rows, [make("math", {})])}
    for sample in tried["all answers one by one"].samples:
        assert sample.answer in sample.completion
        assert not sample.completion.endswith(rf"\boxed{{{sample.answer}}}$.")
    assert tried["another row's gold"].samples[0].completion == r"So the answer is $\boxed{2}$."


def test_unjudged_attacks_are_no_reward_and_are_counted(recipe):
    # Every gold answer is unreadable for it: neither the right ones nor the attacks are judged.
    result = audit(recipe({"name": "choice"}), None, 4)
    assert (line(result, "gold").score, line(result, "gold").unjudged) == (None, 1.0)
    assert result.over(0.0) == []


@pytest.mark.usefixtures("letters")
def test_verifiers_bring_attacks_of_their_own(recipe):
    result = audit(recipe({"name": "choice"}), None, 4)
    assert line(result, "gold").score == 1.0
    assert line(result, "every letter in a box").score == 0.0
    assert result.over(0.0) == []


def test_the_second_opinion_shows_where_it_differs():
    samples = [
        VerifierInput("", r"\boxed{2, 2}", "2"),  # a set for math-verify
        VerifierInput("", r"\boxed{2}", "2"),
        VerifierInput("", r"\boxed{3}", "2"),
    ]
    (found,) = compare(VerifierConfig(name="math"), "prerlkit.audit.reference_check:MathVerify", samples, None)
    assert (found.completion, found.ours, found.theirs) == (r"\boxed{2, 2}", "fail", "pass")
