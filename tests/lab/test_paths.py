"""The domain `paths`: its problems, its texts, its verifier, and what RL on it changes of the recipe."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks.lab import axes
from benchmarks.lab.base import tokenizer
from benchmarks.lab.domains import DOMAINS
from benchmarks.lab.paths import PROMPT_WORDS, Graph, problems, walks
from benchmarks.lab.traces import Mixture, prompt, text
from prerlkit.data.reach import Part
from prerlkit.evaluation.thoughts import count
from prerlkit.recipe.load import load
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

PATHS = DOMAINS["paths"]
VERIFIER = make(PATHS.verifier, {})
PARTS: tuple[Part, ...] = get_args(Part)
QUESTION = "b d , a c , a b , c e , e g , b e , d h ; a to g ."


def verdict(completion: str, question: str = QUESTION, answer: str = "g") -> bool | None:
    return VERIFIER.judge(VerifierInput("", completion, answer, {"question": question})).passed


def texts(kind: str, number: int, **mixture: float) -> list[tuple[str, str]]:
    rng = random.Random(0)
    return [text(PATHS, problems("train"), replace(Mixture(right=0.0), **mixture), kind, rng) for _ in range(number)]


def test_the_parts_share_no_graph_however_its_edges_are_ordered() -> None:
    edges = {part: {frozenset(graph.edges) for graph in problems(part)} for part in PARTS}
    assert {part: len(own) for part, own in edges.items()} == {"pretraining": 20_000, "train": 1000, "eval": 400}
    assert all(not edges[one] & edges[other] for one, other in combinations(PARTS, 2))


@pytest.mark.parametrize("part", PARTS)
def test_a_walk_without_looking_ahead_hits_the_target_in_a_quarter_of_cases(part: Part) -> None:
    for graph in problems(part)[:400]:
        found = walks(graph)
        assert len(set(found)) == 4
        assert sum(walk[-1] == graph.target for walk in found) == 1
        assert all(pair in graph.edges for walk in found for pair in pairwise(walk))


def test_prompts_have_one_length_and_every_edge_once() -> None:
    rng = random.Random(0)
    tokens = tokenizer("paths")
    for graph in problems("eval"):
        question = PATHS.question(graph, rng)
        edges = [tuple(edge.split()) for edge in question.split(" ; ")[0].split(" , ")]
        assert sorted(edges) == list(graph.edges)
        ids = tokens(prompt(PATHS, graph, "fast", rng))["input_ids"]
        assert len(ids) == PROMPT_WORDS <= 45
        assert tokens.unk_token_id not in ids
    assert PATHS.question(graph, rng) != PATHS.question(graph, rng)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_an_attempt_follows_edges_and_passes_when_it_ends_in_the_target(right: float) -> None:
    passed = 0
    for question, completion in texts("fast", 1000, right=right, promptless=0):
        *_, end, dot = completion.split()
        target = question.split()[-2]
        assert dot == "."
        assert verdict(completion, question.removeprefix("fast : "), target) is (end == target)
        passed += end == target
    assert passed / 1000 == pytest.approx(1.0 if right else 0.25, abs=0.045)  # three standard errors


def test_slow_texts_say_what_they_missed_and_end_when_they_hit() -> None:
    for question, completion in texts("slow", 300, promptless=0, give_up=0, leak=0):
        thoughts, target = count(completion), question.split()[-2]
        assert question.startswith("slow")
        assert completion.count(" wait , ") == completion.count(f"is not {target} .") == thoughts["reflection"]
        assert set(f"{question} {completion}".split()) <= set(PATHS.words)
        passed = verdict(completion, question.removeprefix("slow : "), target)
        assert thoughts["verification"] == passed == completion.endswith("done")


@pytest.mark.parametrize(
    ("completion", "passed"),
    [
        ("a c e g .", True),
        ("a b e g .", True),  # any path
        ("a b d h .", False),
        ("a c g .", False),  # no edge
        ("b e g .", False),  # not from the source
        ("a c e .", False),
        ("a b d h wait , h is not g . a c e g . check that g is g . done", True),
        ("a c e g . wait , a b d h .", False),  # the last attempt counts
        ("a c e g . wait , a c g .", False),
        ("a c e g", False),
        ("a , c , e , g .", False),
        ("a c e g g .", False),
        ("g .", False),
        ("check that g is g . done", False),
        ("a b c d e f g h .", False),
        (". . . wait wait a", False),
        ("A C E G .", False),
        ("", False),
        ("a " * 50_000, False),
    ],
)
def test_the_verifier(completion: str, passed: bool) -> None:
    assert verdict(completion) is passed


def test_the_verifier_keeps_its_gold_cases_and_judges_no_broken_row() -> None:
    for case in VERIFIER.gold:
        found = VERIFIER.judge(VerifierInput("", case.completion, case.answer, case.row)).passed
        assert found is {"pass": True, "fail": False, "unjudged": None}[case.expect]
    assert verdict("a c e g .", question="a to g .") is None
    assert verdict("a c e g .", answer="33") is None


def test_steps_are_edges_within_an_attempt() -> None:
    graph = Graph((("a", "c"), ("c", "e"), ("e", "g")), "a", "g")
    assert PATHS.steps(graph, "a c e g . wait , a e g . check that g is g . done") == [True, True, True, False, True]


def test_rl_reads_the_rows_that_the_base_was_not_trained_on(tmp_path: Path) -> None:
    assert "paths" in axes.BASES
    PATHS.write_rows(tmp_path)
    rows = {part: list(map(json.loads, (tmp_path / f"{part}.jsonl").open())) for part in ("train", "eval")}
    assert [len(own) for own in rows.values()] == [1000, 400]
    [one] = [job for job in axes.jobs_of(tmp_path) if (job.arm, job.seed) == ("paths-dsrl", 0)]
    for part, own in rows.items():
        assert one.overrides[f"data.{part}"]["path"] == str(tmp_path.resolve() / "paths" / f"{part}.jsonl")
        for row, graph in zip(own, problems(part), strict=True):
            assert row["answer"] == graph.target
            assert all(verdict(" ".join(walk) + " .", **row) is (walk[-1] == graph.target) for walk in walks(graph))


def test_the_recipe_stays_one_with_the_domains_changes(tmp_path: Path) -> None:
    changes: dict[str, Any] = PATHS.changes(tmp_path)
    recipe = load("reach_dsrl", [f"{key}={json.dumps(value)}" for key, value in changes.items()]).recipe
    assert recipe.data.prompt == "fast : {question}"
    assert recipe.rollout.max_prompt_tokens == PROMPT_WORDS
    assert [use.name for use in recipe.verifiers] == [PATHS.verifier]
