"""Checks the letter of a multiple choice question: one letter, clearly chosen, and the right one.

Naming several letters chooses none. The gold answer may be a letter or a number that counts the options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.mathematics import extract

_MARKUP = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)


class ChoiceSettings(Settings):
    """How many options there are, and where the letter is looked for."""

    options: Annotated[int, Field(strict=True, ge=2, le=26)] = 4
    """How many: 4 means A to D. Any other letter is wrong."""
    extract: Literal["auto", "boxed", "tag", "last_line"] = "auto"
    r"""auto: the last `\boxed{}`, else the last `<answer>` tag, else what follows the last "answer is", else the last
    line. The others: that place only."""
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
        place = self._place(sample.completion)
        if place is None:
            return Verdict.of(False, "no answer found")
        chosen = self._letter(place)
        if chosen is None:
            return Verdict.of(False, f"no single option: {place.strip()[:100]!r}")
        return Verdict.of(chosen == gold, "" if chosen == gold else "another option", answer=chosen)

    def _gold(self, answer: str) -> str | None:
        answer = answer.strip().strip("().").strip()
        if self.settings.gold == "letter":
            return answer.upper() if len(answer) == 1 and answer.upper() in self._letters else None
        number = int(answer) - (self.settings.gold == "from_1") if re.fullmatch(r"\d{1,2}", answer) else -1
        return self._letters[number] if 0 <= number < len(self._letters) else None

    def _place(self, text: str) -> str | None:
        """The part of the completion that holds the choice."""
        tags = _TAG.findall(text) if self.settings.extract in ("auto", "tag") else []
        lines = text.strip().splitlines()
        places = {
            "boxed": extract.boxed(text),
            "tag": tags[-1] if tags else None,
            "said": extract.said(text),
            "last_line": lines[-1] if lines else None,
        }
        if self.settings.extract != "auto":
            return places[self.settings.extract]
        return next((place for place in places.values() if place is not None and place.strip()), None)

    def _letter(self, place: str) -> str | None:
        """The one option that a place names: B, (B), **B**, B) Paris, \\text{B}. None for several or none."""
        place = _MARKUP.sub(r"\1", place).replace("*", "").replace("$", "").strip()
        if boxed := extract.boxed(place):
            place = boxed
        # A letter alone or with its bracket or dot. In a sentence only brackets set one apart from the article "A".
        marked = re.match(r"\(?([A-Za-z])(?:\)|[.:](?=\s|$)|$)", place)
        found = {letter.upper() for letter in re.findall(r"\(([A-Za-z])\)", place)} | (
            {marked[1].upper()} if marked else set()
        )
        # "A, B" and "A or B" hold letters that nothing marks: they are several all the same.
        alone = set(re.findall(r"(?<![\w'])([B-HJ-Z])(?![\w'])|(?<![\w'])(A)(?=\s*(?:[,;/&.)]|and\b|or\b|$))", place))
        found |= {letter for pair in alone for letter in pair if letter}
        return found.pop() if len(found) == 1 and found <= set(self._letters) else None

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
            "every letter, a line each": "\n".join(f"({letter})" for letter in self._letters) + "\nAll of these.",
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
