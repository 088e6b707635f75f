r"""Checks a completion by regular expressions: what it must and must not hold, and an answer equal to the gold one.

Patterns are searched for anywhere: `\A` and `\Z` anchor them. A completion on which a pattern takes more than 0.25 s of
processor time fails. A format rule alone is easy to cheat (`<think></think>` satisfies a careless one): ask for
content, as in `\A<think>.{20,}</think>`, and combine it with a verifier of the answer.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from prerlkit.cpu_limit import TooExpensive, cpu_limit
from prerlkit.settings import Bool
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.patterns import always_matches, cannot_capture, never_matches
from prerlkit.verify.thinking import after_thinking

Flag = Literal["ignore_case", "multiline", "dotall", "verbose", "ascii"]
_FLAGS = {
    "ignore_case": re.IGNORECASE,
    "multiline": re.MULTILINE,
    "dotall": re.DOTALL,
    "verbose": re.VERBOSE,
    "ascii": re.ASCII,
}


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {error.msg} at position {error.pos} of {pattern!r}") from error
    except (OverflowError, RecursionError) as error:  # a repeat or a nest that Python can't compile
        raise ValueError(f"no regular expression: {error}: {pattern[:80]!r}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


def _flags(names: tuple[Flag, ...]) -> re.RegexFlag:
    flags = re.NOFLAG
    for name in names:
        flags |= _FLAGS[name]
    return flags


class RegexSettings(Settings):
    """The rules. A pattern is searched for anywhere in the completion: `\\A` and `\\Z` anchor it."""

    must_match: tuple[Pattern, ...] = ()
    """Each of these has to be found."""
    must_not_match: tuple[Pattern, ...] = ()
    """None of these may be found."""
    pattern: Pattern | None = None
    """Its last match holds the answer, which must equal the gold one. An answer inside a `<think>` block does not
    count. The other rules see the whole completion."""
    answer_group: int | str = 1
    """The group of `pattern` that is the answer, by number or name; 0 is the whole match."""
    ignore_case: Bool = False
    """Compare answer and gold answer whatever their case."""
    strip: Bool = True
    """Compare them without the space around them."""
    flags: tuple[Flag, ...] = ()
    """For all patterns."""
    partial: Bool = False
    """true: the score is the share of rules that hold; the answer is one rule. It passes when all hold.
    false: all or nothing."""

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        flags = _flags(self.flags)
        for key, patterns in (("must_match", self.must_match), ("pattern", (self.pattern,) if self.pattern else ())):
            for pattern in patterns:
                if why := never_matches(pattern, flags):
                    raise ValueError(f"{key}: {pattern!r} matches nothing, so no completion could pass: {why}")
        for pattern in self.must_not_match:
            if pattern in self.must_match:
                raise ValueError(f"must_match and must_not_match both have {pattern!r}: no completion could pass")
            if always_matches(pattern, flags):
                raise ValueError(f"must_not_match: {pattern!r} is found in every completion, so none could pass")
        return self

    @model_validator(mode="after")
    def _has_rules(self) -> Self:
        if not (self.must_match or self.must_not_match or self.pattern):
            raise ValueError("give must_match, must_not_match or pattern: without a rule everything would pass")
        if self.pattern is not None:
            compiled = re.compile(self.pattern)
            if isinstance(self.answer_group, str):
                known = self.answer_group in compiled.groupindex
            else:
                known = 0 <= self.answer_group <= compiled.groups
            if not known:
                raise ValueError(f"answer_group: {self.pattern!r} has no group {self.answer_group!r}")
        return self


class Regex(Verifier):
    """Passes a completion that all rules hold for."""

    name = "regex"
    Settings = RegexSettings
    settings: RegexSettings
    needs_answer = False  # unless there is a `pattern`

    def __init__(self, settings: RegexSettings) -> None:
        super().__init__(settings)
        self.needs_answer = settings.pattern is not None
        flags = _flags(settings.flags)
        self._wanted = [re.compile(pattern, flags) for pattern in settings.must_match]
        self._unwanted = [re.compile(pattern, flags) for pattern in settings.must_not_match]
        self._answer = None if settings.pattern is None else re.compile(settings.pattern, flags)

    def judge(self, sample: VerifierInput) -> Verdict:
        try:
            with cpu_limit():
                broken = self._broken(sample)
        except TooExpensive:
            return Verdict.of(False, "a pattern takes too long on this completion")
        rules = len(self._wanted) + len(self._unwanted) + (self._answer is not None)
        score = 1 - len(broken) / rules if self.settings.partial else float(not broken)
        return Verdict(score, not broken, "; ".join(broken))

    def gold_error(self, answer: str) -> str:
        if self._answer is None:
            return ""
        own = self.settings
        options = {"strip": own.strip, "ignore_case": own.ignore_case}
        try:
            with cpu_limit():
                never = cannot_capture(self._answer, own.answer_group, answer, **options)
        except TooExpensive:  # not known
            return ""
        if not never:
            return ""
        return f"group {own.answer_group!r} of the pattern {own.pattern!r} can't hold it"

    def _broken(self, sample: VerifierInput) -> list[str]:
        """Return what is wrong, for each rule that does not hold."""
        text = sample.completion
        broken = [f"lacks {rule.pattern!r}" for rule in self._wanted if not rule.search(text)]
        broken += [f"holds {rule.pattern!r}" for rule in self._unwanted if rule.search(text)]
        if self._answer is not None and (wrong := self._wrong_answer(self._answer, sample)):
            broken.append(wrong)
        return broken

    def _wrong_answer(self, pattern: re.Pattern[str], sample: VerifierInput) -> str:
        """Return what is wrong with the answer; empty when it equals the gold one."""
        text, gold = sample.completion, sample.answer or ""
        after = after_thinking(text, sample.prompt)
        if after is None:
            return "the thought is not finished"
        # A pattern may name the closing tag itself: then its match begins in the thought, and the answer after it.
        answer = self._last(pattern, after)
        if answer is None and after != text:
            answer = self._last(pattern, text, len(text) - len(after))
        if answer is None:
            return "no answer found"
        return "" if self._bare(answer) == self._bare(gold) else f"another answer: {answer[:100]!r}"

    def _last(self, pattern: re.Pattern[str], text: str, start: int = 0) -> str | None:
        """Return the answer of the last match whose answer begins at `start` or later; None without one."""
        found = None
        for match in pattern.finditer(text):
            if match.start(self.settings.answer_group) >= start:
                found = match.group(self.settings.answer_group)
        return found

    def _bare(self, text: str) -> str:
        text = text.strip() if self.settings.strip else text
        return text.casefold() if self.settings.ignore_case else text

    gold = (
        GoldCase("<think>a</think> 4", "pass", settings={"must_match": [r"\A<think>.+</think>"]}),
        GoldCase("4", "fail", settings={"must_match": [r"\A<think>.+</think>"]}),
        GoldCase("as an AI", "fail", settings={"must_not_match": ["as an ai"], "flags": ["ignore_case"]}),
        GoldCase("as an AI", "pass", settings={"must_not_match": ["as an ai"]}),
        GoldCase("a=1; a= 2 ;", "pass", "2", settings={"pattern": "a=(.*?);"}),
        GoldCase("Answer: 3", "pass", "3", settings={"pattern": r"Answer: (?P<it>\w+)", "answer_group": "it"}),
        GoldCase("Answer: Yes", "pass", "yes", settings={"pattern": r"Answer: (\w+)", "ignore_case": True}),
        GoldCase("Answer: Yes", "fail", "yes", settings={"pattern": r"Answer: (\w+)"}),
        GoldCase("no idea", "fail", "yes", settings={"pattern": r"Answer: (\w+)"}),
        GoldCase("Answer: Yes", "unjudged", settings={"pattern": r"Answer: (\w+)"}),
        GoldCase("<think>a=2;</think> a=3;", "pass", "3", settings={"pattern": "a=(.*?);"}),
        GoldCase("<think>a=2;</think> so", "fail", "2", settings={"pattern": "a=(.*?);"}),
        GoldCase("<think>a=2;", "fail", "2", settings={"pattern": "a=(.*?);"}),
        GoldCase("<think>a</think> 3", "pass", "3", settings={"pattern": r"</think>\s*(\w+)"}),
        GoldCase("a" * 40 + "b", "fail", settings={"must_not_match": ["(a+)+$"]}),
        GoldCase("half", "fail", settings={"must_match": ["half", "full"], "partial": True}),
    )  # fmt: skip
