"""Checks that a completion is in tags, such as `<think>…</think><answer>…</answer>`: each once, in order, not empty.

Nothing may be outside of the tags. Where the prompt already ends with the first tag, the completion continues from
there. A format alone has no value: use it as a gate, together with a verifier of the answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from prerlkit.settings import Bool, PositiveInt
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput

# Characters without a shape that Unicode counts as letters or symbols: Hangul fillers and the empty Braille cell.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# Unicode categories without a visible shape: control, format, unassigned and private characters, separators,
# surrogates, and marks, which sit on another character.
_SHAPELESS = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs", "Mn", "Me"))


def _visible(text: str) -> int:
    """Return how many characters of a text can be seen."""
    if text.isascii():
        return sum(map(len, text.split())) - sum(text.count(chr(code)) for code in (*range(9), *range(14, 28), 127))
    return sum(unicodedata.category(one) not in _SHAPELESS and one not in _BLANK for one in text)


def _distinct(tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(tags)) < len(tags):
        raise ValueError("a tag is named twice")
    return tags


class FormatSettings(Settings):
    """The tags and what is allowed around them."""

    tags: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z][\w-]*$")], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = ("think", "answer")
    """Names without brackets, in the order in which they must come. The default is that of DeepSeek-R1
    (arXiv 2501.12948)."""
    min_characters: PositiveInt = 1
    """Least number of visible characters between each pair of tags: white space, zero-width characters and the like are
    not counted."""
    outside: Bool = False
    """true: text may be before, between and after the tags."""


class Format(Verifier):
    """Passes a completion that has each tag exactly once, in order, with content, and no text outside them."""

    name = "format"
    Settings = FormatSettings
    settings: FormatSettings
    needs_answer = False

    def judge(self, sample: VerifierInput) -> Verdict:
        wrong = self._wrong(self._whole(sample))
        return Verdict.of(not wrong, wrong)

    def _whole(self, sample: VerifierInput) -> str:
        """Return the text, preceded by the first tag where the prompt has opened it, as some chat templates do."""
        first = f"<{self.settings.tags[0]}>"
        return first + sample.completion if sample.prompt.rstrip().endswith(first) else sample.completion

    def _wrong(self, text: str) -> str:
        """Return what is wrong; empty if nothing is."""
        for tag in self.settings.tags:
            for mark in (f"<{tag}>", f"</{tag}>"):
                if (count := text.count(mark)) != 1:
                    return f"{mark} stands {count} times"
        end = 0
        for tag in self.settings.tags:
            opened, closed = text.index(f"<{tag}>"), text.index(f"</{tag}>")
            start = opened + len(tag) + 2
            if opened < end or closed < start:
                return f"<{tag}> is out of order"
            if not self.settings.outside and text[end:opened].strip():
                return f"text before <{tag}>"
            if _visible(text[start:closed]) < self.settings.min_characters:
                return f"<{tag}> holds too little"
            end = closed + len(tag) + 3
        return "text after the last tag" if not self.settings.outside and text[end:].strip() else ""

    def dress(self, text: str) -> str:
        """Return the text in the last tag, unless it is there, and enough words in the other tags."""
        last = self.settings.tags[-1]
        if text.startswith(f"<{last}>") and text.endswith(f"</{last}>"):
            text = text[len(last) + 2 : -len(last) - 3]
        filler = "." * max(0, self.settings.min_characters - _visible(text))
        words = "So it is. " * (1 + self.settings.min_characters // 7)
        parts = [f"<{tag}>{words.strip()}</{tag}>" for tag in self.settings.tags[:-1]]
        return "\n".join([*parts, f"<{last}>{text}{filler}</{last}>"])

    def attacks(self, sample: VerifierInput) -> Mapping[str, str]:
        tags = self.settings.tags
        return {
            "tags, empty": "".join(f"<{tag}></{tag}>" for tag in tags),
            "tags around white space": "".join(f"<{tag}> \n </{tag}>" for tag in tags),
            "tags around a zero-width space": "".join(f"<{tag}>\u200b</{tag}>" for tag in tags),
            "tags around a dot": "".join(f"<{tag}>.</{tag}>" for tag in tags),
        }

    gold = (
        GoldCase("<think>2 and 2</think>\n<answer>4</answer>", "pass"),
        GoldCase("<think>\n2\n</think> <answer>4</answer>\n", "pass"),
        GoldCase("4", "fail"),
        GoldCase("", "fail"),
        GoldCase("<think></think><answer>4</answer>", "fail"),
        GoldCase("<think>a</think><answer> \n </answer>", "fail"),
        GoldCase("<think>\u200b</think><answer>4</answer>", "fail"),
        GoldCase("<think>a</think><answer>\u3164\u2800\ufeff</answer>", "fail"),
        GoldCase("<answer>4</answer><think>a</think>", "fail"),
        GoldCase("<think>a<answer>4</answer></think>", "fail"),
        GoldCase("<think>a</think><answer>4</answer><answer>5</answer>", "fail"),
        GoldCase("<think>a <think>b</think> <answer>4</answer>", "fail"),
        GoldCase("</think>a<think><answer>4</answer>", "fail"),
        GoldCase("Well. <think>a</think><answer>4</answer>", "fail"),
        GoldCase("<think>a</think> so <answer>4</answer>", "fail"),
        GoldCase("<think>a</think><answer>4</answer> done", "fail"),
        GoldCase("Well. <think>a</think> so <answer>4</answer> done", "pass", settings={"outside": True}),
        GoldCase("<think>ab c</think><answer>four</answer>", "pass", settings={"min_characters": 3}),
        GoldCase("<think>ab c</think><answer>4</answer>", "fail", settings={"min_characters": 3}),
        GoldCase("a</think><answer>4</answer>", "pass", prompt="<turn>assistant\n<think>\n"),
        GoldCase("<think>a</think><answer>4</answer>", "fail", prompt="<turn>assistant\n<think>\n"),
        GoldCase("<plan>a</plan>", "pass", settings={"tags": ["plan"]}),
    )
