"""The domain `paths`: find a path between two nodes of a small graph.

    b d , a c , a b , c e , b f , c g ; a to g .   →   a c g .

Nodes are letters. A source has two successors, and each of these has two: four walks, and one of them ends in the
target. A walk without looking ahead hits it in a quarter of all cases.

The target's full stop in the question, and none after a missed attempt, let a small model see where it has arrived by
looking up what follows a node in the question: a stop after the target, no stop after another end. With a stop after
every attempt it had not learned to compare two letters in 2,000 steps.
"""

from __future__ import annotations

import json
import random
import string
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.lab.traces import MODES, THOUGHTS
from prerlkit.data.reach import Part

_DEPTH = 2
_PARTS: Mapping[Part, slice] = {
    "train": slice(0, 1000),
    "eval": slice(1000, 1400),
    "pretraining": slice(1400, 21400),
}
_VERIFIER = Path(__file__).with_name("paths_verifier.py")
PROMPT_WORDS = 25
"""Of every prompt, with `<bos>`."""

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Graph:
    """A problem: edges in ascending order, and where to go."""

    edges: tuple[Edge, ...]
    source: str
    target: str


@cache
def problems(part: Part) -> tuple[Graph, ...]:
    """Return the problems of that part, in an order that never changes. No two of any part have the same edges."""
    rng = random.Random(0)
    found: dict[tuple[Edge, ...], Graph] = {}
    while len(found) < max(rows.stop for rows in _PARTS.values()):
        graph = _graph(rng)
        found.setdefault(graph.edges, graph)
    return tuple(found.values())[_PARTS[part]]


@cache
def walks(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Return every walk from the source until there is no successor."""
    successors = defaultdict(list)
    for node, successor in graph.edges:
        successors[node].append(successor)
    found: list[tuple[str, ...]] = [(graph.source,)]
    while successors[found[0][-1]]:  # all walks have the same length
        found = [(*walk, successor) for walk in found for successor in successors[walk[-1]]]
    return tuple(found)


def _graph(rng: random.Random) -> Graph:
    """Return a random graph."""
    names = rng.sample(string.ascii_lowercase, 2 ** (_DEPTH + 1) - 1)
    # Node n has the successors 2n + 1 and 2n + 2, as in a heap.
    edges = [(names[(place - 1) // 2], name) for place, name in enumerate(names) if place]
    return Graph(tuple(sorted(edges)), names[0], rng.choice(names[-(2**_DEPTH) :]))


class Paths:
    """The domain, as `benchmarks.lab.traces.Domain` asks for it."""

    words = (*string.ascii_lowercase, *",.:;", "to", *MODES, *THOUGHTS)
    verifier = f"{_VERIFIER}:Paths"
    miss = ""

    def problems(self, part: Part) -> tuple[Graph, ...]:
        """Return the problems of that part."""
        return problems(part)

    def question(self, problem: Graph, rng: random.Random) -> str:
        """Return `b d , a c , a b ; a to d .`, the edges in random order."""
        edges = [f"{node} {successor}" for node, successor in problem.edges]
        rng.shuffle(edges)
        return f"{' , '.join(edges)} ; {problem.source} to {problem.target} ."

    def attempts(self, problem: Graph) -> Mapping[str, str]:
        """Return every walk with the node at its end."""
        return _attempts(problem)

    def steps(self, problem: Graph, text: str) -> list[bool]:
        """Return of each pair of nodes that follow each other in a text whether it is an edge."""
        pairs = [pair for pair in pairwise(text.split()) if all(len(word) == 1 and word.isalpha() for word in pair)]
        return [pair in problem.edges for pair in pairs]

    def row(self, problem: Graph, rng: random.Random) -> dict[str, str]:
        """Return the columns that the verifier reads, and that RL's prompt is made of."""
        return {"question": self.question(problem, rng), "answer": problem.target}

    def write_rows(self, folder: Path) -> None:
        """Write the rows that `changes` names."""
        for part in ("train", "eval"):
            rng = random.Random(0)
            lines = [json.dumps(self.row(problem, rng)) + "\n" for problem in problems(part)]
            (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")

    def changes(self, folder: Path) -> dict[str, Any]:
        """Return what RL on this domain changes of the recipe `reach_dsrl`; the rows are in `folder`."""
        rows = {part: {"kind": "file", "path": str((folder / f"{part}.jsonl").resolve())} for part in ("train", "eval")}
        return {
            "data.train": rows["train"],
            "data.eval": rows["eval"],
            "verifiers": [{"name": self.verifier}],
            "rollout.max_prompt_tokens": PROMPT_WORDS,
        }


@cache
def _attempts(graph: Graph) -> Mapping[str, str]:
    return {" ".join(walk): walk[-1] for walk in walks(graph)}
