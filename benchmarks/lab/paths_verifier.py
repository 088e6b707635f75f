"""Checks the laboratory's domain `paths`: walk from a node of a graph to another one, along its edges.

    a c e g .

The last attempt of this form counts: a completion may try, notice a miss, and try again. It must begin in the source,
follow edges of the column `question`, and end in the gold answer. Every such path is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput

_QUESTION = re.compile(r"((?:[a-z] [a-z] , )*[a-z] [a-z]) ; ([a-z]) to [a-z] \.")
_NODE = re.compile(r"[a-z]")
_ROW = {"question": "b d , a c , a b , c e , e g , b e ; a to g ."}


class PathsSettings(Settings):
    """There are none."""


class Paths(Verifier):
    """Passes a completion whose last attempt is right; needs the columns answer (the target) and question."""

    name = "paths"
    Settings = PathsSettings
    settings: PathsSettings

    def judge(self, sample: VerifierInput) -> Verdict:
        question = _QUESTION.fullmatch(str(sample.row.get("question", "")))
        if question is None or not _NODE.fullmatch(sample.answer or ""):
            return Verdict.unjudged("the row needs a question such as a b , b c ; a to c . and a letter as its answer")
        edges, source = {tuple(edge.split()) for edge in question[1].split(" , ")}, question[2]
        path = _last_attempt(sample.completion.split())
        if not path:
            return Verdict(0.0, False, "no attempt such as a c e g .")
        if path[0] != source:
            return Verdict(0.0, False, f"begins in {path[0]}, not {source}")
        for pair in pairwise(path):
            if pair not in edges:
                return Verdict(0.0, False, f"no edge {' '.join(pair)}")
        return Verdict.of(path[-1] == sample.answer, f"ends in {path[-1]}")

    gold = (
        GoldCase("a c e g .", "pass", answer="g", row=_ROW),
        GoldCase("a b e g .", "pass", answer="g", row=_ROW),
        GoldCase(
            "a b d wait , d is not g . alternatively a c e g . check that g is g . done", "pass", answer="g", row=_ROW
        ),
        GoldCase("a c e g . wait , a b d .", "fail", answer="g", row=_ROW),
        GoldCase("a c e g", "fail", answer="g", row=_ROW),
        GoldCase("a c g .", "fail", answer="g", row=_ROW),
        GoldCase("c e g .", "fail", answer="g", row=_ROW),
        GoldCase("a c e .", "fail", answer="g", row=_ROW),
        GoldCase("g .", "fail", answer="g", row=_ROW),
        GoldCase("", "fail", answer="g", row=_ROW),
        GoldCase("a c e g .", "unjudged", answer="g"),
        GoldCase("a c e g .", "unjudged", row=_ROW),
    )


def _last_attempt(words: Sequence[str]) -> list[str]:
    """Return the nodes of the last `a c e g .`; two at least, else none."""
    run: list[str] = []
    last: list[str] = []
    for word in words:
        if _NODE.fullmatch(word):
            run.append(word)
            continue
        if word == "." and len(run) > 1:
            last = run
        run = []
    return last
