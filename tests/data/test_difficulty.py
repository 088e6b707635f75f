"""Prompts by their pass rate in an evaluation's samples.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from prerlkit.data.difficulty import in_range, pass_rates
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import PassRate
from prerlkit.types import Completion, Group, Prompt, Verdict

TEXTS = [f"p {i}" for i in range(5)]


def line(prompt: str, passed: list[bool | None], kind: str = "sampled") -> dict:
    from prerlkit.runs.jsonl import group_line  # what `prerlkit eval` writes

    verdicts = tuple(Verdict.unjudged("crashed") if p is None else Verdict.of(p) for p in passed)
    completions = tuple(Completion((1,), "y", (-1.0,), truncated=False) for _ in passed)
    return {"kind": kind, **group_line(Group(Prompt("eval/9", prompt, (1,)), completions, verdicts))}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.jsonl"
    lines = [
        line("p 0", [False], "greedy"),
        line("p 0", [True, True, True, False]),
        line("p  1 ", [True, False, None, None]),  # white space aside; 1 of 2 judged
        line("p 2", [None, None]),
        line("p 3", [True], "greedy"),
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def test_rates_are_of_judged_samples_and_of_the_greedy_answer_where_there_are_none(samples):
    assert pass_rates(samples) == {"p 0": 0.75, "p 1": 0.5, "p 3": 1.0}


@pytest.mark.parametrize(
    ("low", "high", "kept"), [(0, 1, [0, 1, 3]), (0.5, 0.75, [0, 1]), (0.6, 1, [0, 3]), (0.75, 0.75, [0])]
)
def test_both_ends_belong_to_the_range_and_order_stays(samples, low, high, kept):
    notes: list[str] = []
    rule = PassRate(samples=str(samples), at_least=low, at_most=high)
    assert in_range(rule, TEXTS, None, notes) == kept
    assert f"{len(kept)} of 5 train prompts stay; 2 left out have no judged answer" in notes[0]


def test_what_cannot_be_meant_is_refused(samples, tmp_path):
    def keep(**settings):
        return in_range(PassRate(**{"samples": str(samples), **settings}), TEXTS, None, [])

    with pytest.raises(UsageError, match=r"none of the 3 train prompts .* pass rate of 0.1 to 0.4"):
        keep(at_least=0.1, at_most=0.4)
    with pytest.raises(UsageError, match="no such file"):
        keep(samples=str(tmp_path / "sample.jsonl"))
    with pytest.raises(ValidationError, match="more than at_most"):
        keep(at_least=0.9, at_most=0.1)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(line("another", [True])) + "\n")
    with pytest.raises(UsageError, match="judged answer to none of the 5 train prompts"):
        keep(samples=str(other))
    other.write_text('{"question": "1+1"}\n')
    with pytest.raises(UsageError, match=r"line 1: not a line of an evaluation"):
        keep(samples=str(other))
