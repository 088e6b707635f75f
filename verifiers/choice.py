"""Checks the letter of a multiple choice question: one letter, clearly chosen, and the right one.

Several letters choose none, and a letter that the text denies ("not B") is not chosen. A letter that can be read in two
ways is no answer. A gold answer that is none of the options is unjudged. The rules are for English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.mathematics import extract
from prerlkit.verify.option_text import CORRECTION, plain
from prerlkit.verify.options import NamedOptions, named
from prerlkit.verify.tags import last_tagged
from prerlkit.verify.thinking import after_thinking

_LONGEST = 2_000  # characters: a longer box, tag or sentence chooses no option
_STATEMENTS = 50  # statements that are read, from the end: more are no answer
_SAID = re.compile(r"\banswer\b|\b(?:correct|right|best|final)\s+(?:option|choice|letter|alternative)\b", re.IGNORECASE)
_CHOSEN = re.compile(
    r"\b[A-Z]\b[)\]*]*\s+(?:is|must be)\s+(?:\w+\s+){0,3}(?:correct|right|true|answer|option|choice)\b"
    r"|\b(?:choose|pick|select|go with)\b"
)
# Words right before "the answer is B" that deny it.
_DENIED = re.compile(
    r"\b(?:not|never|\w+n't)\s+(?:\w+\s+)?(?:think|believe|say|mean|true|claim|agree|follow|convinced|sure|certain|sense(?=\s+for))\b[\w\s']{0,30}$"
    r"|\b(?:doubt|disagree)\b[\w\s']{0,30}$|\b(?:wrong|incorrect|false)\s+$"
    r"|\b(?:wrong|incorrect|false|untrue|unlikely|impossible|improbable|doubtful)\s+(?:that|to|for)\b[\w\s']{0,30}$"
    r"|\bnothing\s+(?:suggests|shows|says|proves|indicates|implies)\b[\w\s']{0,30}$"
    r"|\b(?:any|each|every)\s+(?:other\s+)?$",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(
    r"\b(?:otherwise|or(?:\s+(?:else|maybe|perhaps|possibly))?|[,;]\s*else)\W+(?:(?:the|my|correct|right|best|final)\s+)*$",
    re.IGNORECASE,
)
_DOUBTS = re.compile(r"\b(?:wrong|incorrect|false|no|not|wait|correction|sorry|\w+n't)\b", re.IGNORECASE)
_CORRECTIONS = 10  # lines behind an answer in which a correction is looked for
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_MARKED_LINE = re.compile(r"[\s*_>-]*\(?([A-Z])(?:[).:]|[*\s]*$)")


class ChoiceSettings(Settings):
    """The number of options, and where the letter is searched for."""

    options: Annotated[int, Field(strict=True, ge=2, le=26)] = 4
    """How many: 4 means A to D. Any other letter is wrong."""
    extract: Literal["auto", "boxed", "tag", "last_line"] = "auto"
    r"""auto: the last `\boxed{}`, else the last `<answer>` tag, else what follows "answer" ("B is correct", "I choose
    B"), else the last line. A place that names no option leaves the choice to the next one. The others: that place
    only."""
    gold: Literal["letter", "from_0", "from_1"] = "letter"
    """How the data writes its answer: B, or the option's number counted from 0 (MMLU) or from 1."""


class Choice(Verifier):
    """Passes a completion that chooses the gold option's letter."""

    name = "choice"
    Settings = ChoiceSettings
    settings: ChoiceSettings

    def __init__(self, settings: ChoiceSettings) -> None:
        super().__init__(settings)
        self._letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: settings.options]

    def judge(self, sample: VerifierInput) -> Verdict:
        gold = self._gold(sample.answer or "")
        if gold is None:
            return Verdict.unjudged(f"the gold answer is none of the options {self._letters}: {sample.answer!r}")
        text = after_thinking(sample.completion, sample.prompt)
        if text is None:
            return Verdict.of(False, "the thought is not finished")
        chosen, place = self._chosen(text)
        if not place:
            return Verdict.of(False, "no answer found")
        if len(chosen) != 1 or not chosen <= set(self._letters):
            return Verdict.of(False, f"no single option: {place.strip()[:100]!r}")
        (letter,) = chosen
        return Verdict.of(letter == gold, "" if letter == gold else "another option", answer=letter)

    def _gold(self, answer: str) -> str | None:
        answer = answer.strip().strip("().").strip()
        if self.settings.gold == "letter":
            return answer.upper() if len(answer) == 1 and answer.upper() in self._letters else None
        number = int(answer) - (self.settings.gold == "from_1") if re.fullmatch(r"\d{1,2}", answer) else -1
        return self._letters[number] if 0 <= number < len(self._letters) else None

    def _chosen(self, text: str) -> tuple[frozenset[str], str]:
        """Return the options that the first place with any chooses, and that place; else the last place looked at."""
        place, denied = "", frozenset[str]()
        for kind, found in self._places(text):
            place = found
            one = self._named(found, kind)
            chosen = one.chosen - denied
            if chosen:
                return chosen, found
            denied |= one.denied
        return frozenset(), place

    def _places(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the parts of the text that may hold the choice, the most important one first."""
        where = self.settings.extract
        if where in ("auto", "boxed") and (box := extract.boxes(text)):
            yield from _corrected(text)
            yield "alone", box
        if where in ("auto", "tag") and (tagged := last_tagged(text, "answer")):
            yield "alone", tagged
        if where == "auto":
            yield from _statements(text)
        if where in ("auto", "last_line"):
            lines = [line for line in text.splitlines() if line.strip()]
            if lines:
                yield "line", "\n".join(lines[-2:]) if _is_list(lines[-2:]) else lines[-1]
        if where == "auto" and (first := _lone_first_line(text)):
            yield "alone", first

    def _named(self, place: str, kind: str) -> NamedOptions:
        if _is_list(place.splitlines()):
            return NamedOptions(frozenset(self._letters), frozenset())
        if kind == "otherwise":  # a lower-case answer and a different upper-case one
            return NamedOptions(frozenset(self._letters), frozenset())
        if kind in ("alone", "said", "denied") and len(place) > _LONGEST:
            return NamedOptions(frozenset(), frozenset())
        one = named(place[-_LONGEST:], self._letters, prose=kind in ("line", "sentence"))
        return NamedOptions(frozenset(), one.chosen | one.denied) if kind == "denied" else one

    def gold_completion(self, answer: str, row: Mapping[str, Any]) -> str | None:
        letter = self._gold(answer) or answer
        match self.settings.extract:
            case "tag":
                return f"<answer>{letter}</answer>"
            case "last_line":
                return f"It can only be one.\n({letter})"
            case _:
                return rf"So the answer is \boxed{{{letter}}}."

    def attacks(self, sample: VerifierInput) -> Mapping[str, str]:
        every = ", ".join(self._letters)
        return {
            "every letter in a box": rf"\boxed{{{every}}}",
            "every letter said": f"The answer is {' or '.join(self._letters)}.",
            "every letter in a tag": f"<answer>{every}</answer>",
            "every letter, one per line": "\n".join(f"({letter})" for letter in self._letters) + "\nAll of these.",
        }

    gold = (
        GoldCase(r"So \boxed{B}.", "pass", "B"),
        GoldCase(r"So \boxed{\text{(B)}}.", "pass", "b"),
        GoldCase(r"So \boxed{A}.", "fail", "B"),
        GoldCase("The answer is (C).", "pass", "(C)"),
        GoldCase("The answer is **C**", "pass", "C"),
        GoldCase("The answer is C) Paris.", "pass", "C"),
        GoldCase("Final answer: D", "pass", "D"),
        GoldCase("<answer> A </answer>", "pass", "A"),
        GoldCase("It rains.\n\nB. Umbrella", "pass", "B"),
        GoldCase("It rains.\n\nb)", "pass", "B"),
        GoldCase("I see.\nA dog is an animal", "fail", "A"),
        GoldCase("The answer is A or B.", "fail", "A"),
        GoldCase("The answer is A or B.", "fail", "B"),
        GoldCase(r"\boxed{A, B, C, D}", "fail", "D"),
        GoldCase("(A) (B) (C) (D)", "fail", "A"),
        GoldCase(r"\boxed{ABCD}", "fail", "A"),
        GoldCase(r"\boxed{E}", "fail", "D"),
        GoldCase(r"\boxed{E}", "pass", "E", settings={"options": 5}),
        GoldCase(r"\boxed{C}", "pass", "2", settings={"gold": "from_0"}),
        GoldCase(r"\boxed{C}", "pass", "3", settings={"gold": "from_1"}),
        GoldCase("The answer is B.", "fail", "B", settings={"extract": "boxed"}),
        GoldCase("<answer>B</answer>", "pass", "B", settings={"extract": "tag"}),
        GoldCase("", "fail", "B"),
        GoldCase(r"\boxed{B}", "unjudged", "Paris"),
        GoldCase(r"\boxed{B}", "unjudged", "4", settings={"gold": "from_0"}),
        GoldCase(r"\boxed{B}", "unjudged", "E"),
        GoldCase(r"\boxed{B}", "unjudged"),
    )


def _statements(text: str) -> Iterator[tuple[str, str]]:
    """Yield the text after each "answer", the last one first; then sentences such as "B is correct"."""
    for cue in reversed(list(_SAID.finditer(text))[-_STATEMENTS:]):
        begin = max(text.rfind("\n", 0, cue.start()) + 1, cue.start() - 200)
        before = text[begin : cue.start()]
        yield (
            "otherwise" if _OTHERWISE.search(before) else "denied" if _DENIED.search(before) else "said",
            _said(text[cue.end() :][: _LONGEST + 1]),
        )
    for cue in reversed(list(_CHOSEN.finditer(text))[-_STATEMENTS:]):
        before, after = text[max(0, cue.start() - 300) : cue.start()], text[cue.end() :][:300]
        begin = max(before.rfind("\n"), before.rfind(". ")) + 1
        yield "sentence", before[begin:] + cue[0] + _SENTENCE_END.split(after)[0]


def _said(rest: str) -> str:
    """Return the line that states the answer; with the line below it where both are a list of options."""
    lines = rest.split("\n")
    while len(lines) > 1 and not plain(lines[0]):
        del lines[0]
    following = next((line for line in lines[1:] if line.strip()), "")
    if following == "".join(lines[1:2]) or len(plain(following)) <= len("(B)."):  # no explanation further down
        lines[1:] = [following]
    if _is_list(lines[:2]):
        return "\n".join(lines[:2])
    corrections = [line for line in lines[1:_CORRECTIONS] if CORRECTION.match(plain(line))]
    return "\n".join([lines[0], *corrections])


def _corrected(text: str) -> Iterator[tuple[str, str]]:
    """Yield the corrections in short sentences after the last box, the last one first."""
    box = text.rfind("\\boxed")
    line = text[box + 1 :][:_LONGEST].partition("}")[2] if box >= 0 else ""
    for part in reversed(CORRECTION.split(line)[1:]):
        if len(sentence := _SENTENCE_END.split(part)[0]) <= 40:
            yield "said", sentence


def _lone_first_line(text: str) -> str:
    """Return the first line if it is an option's letter alone, and what follows names no other letter; else ""."""
    first, _, rest = text.strip()[:_LONGEST].partition("\n")
    alone = _MARKED_LINE.fullmatch(plain(first).rstrip(").:"))
    if alone is None or len(text) > _LONGEST or _DOUBTS.search(rest):
        return ""
    return first if {*re.findall(r"\b[A-Z]\b", rest)} <= {alone[1], "I"} else ""


def _is_list(lines: list[str]) -> bool:
    """Return whether there are several lines with one marked option each."""
    marks = [found[1] if (found := _MARKED_LINE.match(plain(line))) else "" for line in lines]
    return len(set(marks)) > 1 and all(marks)
