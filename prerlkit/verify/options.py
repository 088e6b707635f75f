"""Reads which options of a multiple choice question a text names: "B", "(B)", "option B", "not A but C", "A or B".

A lone letter is not always an option: "A" may be an article, "E = mc^2" a formula, "vitamin C" a substance. A letter
counts where it is marked, "(B)" or "B.", or where the words around it say that it is chosen. A letter that the text
denies ("not B", "B is wrong", "rule out B") is reported as denied. Where in doubt, a letter does not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prerlkit.verify import option_words as words
from prerlkit.verify.option_text import CORRECTION, TAKEN_BACK, is_glued, plain

_TOKEN = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*(?:-\w+)*'?|\d[\w.,]*|\S")

_MATHS = frozenset("=+^_<>\\|%#")
_ENDS = frozenset(".;!?")


@dataclass(frozen=True, slots=True)
class NamedOptions:
    """The options that a text chooses and those that it denies, as upper-case letters."""

    chosen: frozenset[str]
    denied: frozenset[str]


def named(text: str, options: str, prose: bool = False) -> NamedOptions:
    """Return the options that a text names.

    Args:
        text: an answer alone, such as a box's content or what follows "the answer is".
        options: the letters that are options, in upper case. A clearly chosen letter that is no option is returned
            too, so that the caller can tell "E" of four options from no answer.
        prose: the text is a whole line, in which lone letters are less often options.
    """
    denied: set[str] = set()
    for part in reversed(CORRECTION.split(plain(text))):  # the last correction with an option counts
        one = _OptionReader(part, options, prose).read()
        if one.chosen - denied:
            return NamedOptions(one.chosen - denied, frozenset(denied | one.denied))
        denied |= one.denied
    return NamedOptions(frozenset(), frozenset(denied))


class _OptionReader:
    """Goes once over the words of a text."""

    def __init__(self, text: str, options: str, prose: bool) -> None:
        self._text = text
        self._spans = [found.span() for found in _TOKEN.finditer(text)]
        self._tokens = [text[start:end] for start, end in self._spans]
        self._lower = [token.lower() for token in self._tokens]
        self._options = options
        self._prose = prose

    def read(self) -> NamedOptions:
        chosen: set[str] = set()
        denied: set[str] = set()
        groups = self._groups()
        i, deny = 0, ""
        while i < len(self._tokens):
            if group := groups.get(i):
                end = group[-1]
                verdict, end = self._predicate(end)
                letters = {self._tokens[k].upper() for k in group}
                taken_back = TAKEN_BACK.match(self._text[self._spans[end][1] :][:40]) is not None
                if taken_back or verdict == "wrong" or (deny and (verdict, deny) != ("right", "adjective")):
                    denied |= letters
                elif verdict != "neutral":
                    chosen |= letters if chosen else letters | self._alternatives(end)
                i = end + 1
                continue
            if chosen and (self._word(i) in words.REASON or self._is_end(i)):
                if not self._prose:
                    break
                while i < len(self._tokens) and not self._is_end(i):
                    i += 1
            deny = self._denies(i, deny)
            i += 1
        return NamedOptions(frozenset(chosen - denied), frozenset(denied))

    def _denies(self, i: int, before: str) -> str:
        """Return how the words up to here deny what follows: `word`, `relative`, `adjective`, or "" where they do not.

        `relative` is "the one that is not …": a later "is" names that one, and ends the denial.
        """
        word, previous = self._word(i), self._word(i - 1)
        if word in words.DENY or word.endswith("n't") or (previous, word) in words.DENY_PAIRS:
            if self._word(i + 1) == "only":
                return before
            copula = word.endswith("n't") or previous in words.VERBS
            pronoun = previous if word.endswith("n't") else self._word(i - 2)
            return "relative" if copula and pronoun in ("that", "which", "who", "what") else "word"
        if word == "but" and self._excludes(i):
            return "word"
        if word in words.WRONG:
            return "word" if self._word(i + 1) in ("to", "that", "for") else "adjective"
        if (
            self._is_end(i)
            or word in words.FRESH
            or (word in ("rather", "instead") and self._word(i + 1) not in ("than", "of"))
        ):
            return ""
        if before == "relative" and word in words.BE:
            return ""
        if before == "adjective" and word in words.BE and previous not in words.OPTION_WORDS | {"answer"}:
            return ""
        if word == ":" and before != "adjective":
            return ""
        if word == "," and (previous in ("no", "not") or self._word(i + 1) in words.FRESH_AFTER_COMMA):
            return ""
        return before

    def _excludes(self, i: int) -> bool:
        """Whether "but" means "except": "all but B", "any of the options but B"."""
        before = i - 1
        while self._word(before) in words.OF_OPTIONS:
            before -= 1
        return self._word(before) in words.EVERY

    def _alternatives(self, i: int) -> set[str]:
        """Return the options of other cases behind a letter: "B for x > 0, D for x < 0", "B if so. Otherwise, D"."""
        found: set[str] = set()
        k = i + 1 + (self._word(i + 1) in words.CLOSING)
        condition = self._word(k) if self._word(k) in words.CONDITIONS else ""
        otherwise = False
        for k in range(i + 1, len(self._tokens)):
            word, following = self._word(k), self._word(k + 1)
            if word in ("otherwise", "else"):
                otherwise = True
            elif self._is_letter(k) and (self._tokens[k] != "A" or self._goes_with(k, False)):
                again = condition and following == condition and self._word(k - 1).lstrip("0123456789.") in words.JOINS
                if again or following in ("otherwise", "else") or (otherwise and following not in words.VERBS):
                    found.add(self._tokens[k].upper())
                otherwise = False
            elif word not in words.LEADS and word not in (",", "the", "(", ":"):
                otherwise = False
        return found

    def _groups(self) -> dict[int, list[int]]:
        """The options by where they begin, those of a list ("A, B or C") together."""
        groups: dict[int, list[int]] = {}
        last: list[int] = []
        for i in range(len(self._tokens)):
            if not self._is_letter(i):
                continue
            joined = bool(last) and self._joined(last[-1], i)
            if joined and self._listed(i):
                last.append(i)
            elif self._is_option(i):
                last = [i]
                groups[i] = last
        return groups

    def _is_letter(self, i: int) -> bool:
        """Whether this is a lone letter that can be an option: no variable of a formula, no pronoun."""
        token = self._tokens[i]
        if len(token) != 1 or not token.isalpha() or not token.isascii():
            return False
        upper = token.upper()
        if upper not in self._options and (token.islower() or (token == "I" and not self._bracketed(i))):
            return False
        start, end = self._spans[i]
        before, after = self._text[:start].rstrip()[-1:], self._text[end:].lstrip()[:1]
        if before in _MATHS or after in _MATHS or after == "→" or is_glued(self._text, start, end):
            return False
        # "A - B" and "D/dt" are formulas, "B - Paris" and "A/B" are not.
        if (before in ("-", "–", "→") and len(self._word(i - 2)) == 1) or (
            after in ("-", "–") and self._is_symbol(i + 2)
        ):
            return False
        if after == "/" and len(self._word(i + 2)) != 1:
            return False
        bracket = self._spans[i - 1][0] if self._opened(i) else 0
        glued_to = self._text[max(0, bracket - 1) : bracket]
        return not glued_to.isalnum() and glued_to != "}"  # P(A), option(s), \frac{A}{B}

    def _is_symbol(self, i: int) -> bool:
        """Whether this is one sign and no article: "A - b", not "A - a dog"."""
        article = self._word(i) == "a" and self._tokens[i].islower() and len(self._word(i + 1)) > 1
        return len(self._word(i)) == 1 and not article

    def _is_option(self, i: int) -> bool:
        previous, following = self._word(i - 1), self._word(i + 1)
        if "?" in (following, self._word(i + 2) if following in words.CLOSING else ""):
            return False
        if self._bracketed(i):
            return True
        begins = i == 0 or previous in _ENDS or previous == "" or (self._opened(i) and i == 1)
        if following in words.CLOSING and (begins or previous in words.JOINS or self._led(i)):
            return True
        if begins and (following == "" or (following in (".", ":") and self._spaced(i + 1))):
            return self._tokens[i].isupper() or not self._prose or i + 1 >= len(self._tokens) - 1
        if previous in words.OPTION_WORDS:
            return True
        judged = self._predicate(i)[0] in ("right", "wrong")
        if not (
            begins or self._led(i) or self._in_apposition(i) or (judged and previous in (",", "(", "and", "while"))
        ):
            return False
        if judged:
            return True
        return self._goes_with(i, begins)

    def _goes_with(self, i: int, begins: bool) -> bool:
        """Whether what follows a bare letter lets it be an option."""
        token, following = self._tokens[i], self._word(i + 1)
        if following in ("", *_ENDS, ",", ")", "]", "}", ":", "–", "—", "-", "("):
            return token.isupper() or not self._prose or following in ("", ".")
        if following in words.AFTER:
            return self._word(i + 2) not in words.STATEMENTS and (token.isupper() or not self._prose)
        if self._is_letter_at(i + 2) and following in words.AFTER_CHOICE:  # "B through D"
            return False
        if following in words.AFTER_CHOICE or (following == "in" and self._word(i + 2) in words.IN):
            return token.isupper() and not (begins and self._prose)
        if following in words.JOINS or self._is_letter_at(i + 1):
            return True
        # "B Paris", "B 12". In lower case a word belongs to the letter: "B cells".
        spelled = following in ("all", "none", "both") or not self._tokens[i + 1][:1].islower()
        return token.upper() not in "AI" and spelled and not (begins and self._prose)

    def _led(self, i: int) -> bool:
        """Whether the words before a letter announce an option, in order to choose it or to deny it."""
        k = i - 1 - self._opened(i)
        previous, pair = self._word(k), (self._word(k - 1), self._word(k))
        if previous in words.LEADS or previous in words.DENY or previous.endswith("n't") or previous in (":", "→"):
            return True
        return pair in words.LEAD_PAIRS or pair in words.DENY_PAIRS

    def _in_apposition(self, i: int) -> bool:
        """ "Paris, B": behind a comma or a dash, at the end."""
        return (
            self._word(i - 1) in (",", "-", "–", "—") and self._word(i + 1) in ("", ".") and len(self._word(i - 2)) > 1
        )

    def _joined(self, one: int, other: int) -> bool:
        """Whether nothing but "and", "or", commas, brackets and spaces separate two letters."""
        between = self._lower[one + 1 : other]
        if "." in between and words.OPTION_WORDS & {*between} and self._is_refused(other):
            return False
        if self._opened(other) and not self._bracketed(other) and not self._opened(one):  # "D (A and B are wrong)"
            return False
        allowed = (words.JOINS, words.OPTION_WORDS, words.PERHAPS, "()[]{}.")
        return len(between) <= 6 and all(any(word in known for known in allowed) for word in between)

    def _is_refused(self, i: int) -> bool:
        """Whether the sentence from here on calls something wrong: "Options A and B are incorrect."."""
        end = next((k for k in range(i, len(self._tokens)) if self._is_end(k)), len(self._tokens))
        return any(word in words.WRONG | {"not"} or word.endswith("n't") for word in self._lower[i:end][:20])

    def _listed(self, i: int) -> bool:
        """Whether a letter behind another one continues a list: not "B, A is wrong", not "B. A dog barks"."""
        if self._bracketed(i):
            return True
        if self._word(i - 1) in words.BEFORE_LISTED:
            return self._tokens[i] != "A" or self._goes_with(i, False) or self._predicate(i)[0] != ""
        return self._word(i + 1) in words.AFTER_LISTED or self._is_letter_at(i + 1)

    def _predicate(self, i: int) -> tuple[str, int]:
        """What is said of the letter, and where: `right`, `wrong`, `neutral` where something else, "" where nothing."""
        k = i + 1 + (self._word(i + 1) in words.CLOSING)
        if self._word(k) not in words.VERBS:
            return "", i
        for j in range(k, k + 6):
            word = self._word(j)
            if (
                word in words.WRONG
                or word in ("not", "out", "eliminated", "excluded", "ruled", "cannot")
                or word.endswith("n't")
            ):
                wrong = [j + n for n in (3, 2, 1) if self._word(j + n) in words.RIGHT | words.WRONG | {"out"}]
                return "wrong", (wrong or [j])[0]
            if word in words.RIGHT:
                return "right", i
            if word in _ENDS or word in (",", ""):
                break
        return "neutral", i

    def _is_end(self, i: int) -> bool:
        """Whether a sentence ends here. The dot of "A. B. C." ends none."""
        return self._word(i) in _ENDS and not (self._is_letter_at(i - 1) and self._is_letter_at(i + 1))

    def _is_letter_at(self, i: int) -> bool:
        return 0 <= i < len(self._tokens) and self._is_letter(i)

    def _opened(self, i: int) -> bool:
        return self._word(i - 1) in ("(", "[", "{")

    def _bracketed(self, i: int) -> bool:
        return (self._word(i - 1), self._word(i + 1)) in (("(", ")"), ("[", "]"), ("{", "}"))

    def _spaced(self, i: int) -> bool:
        end = self._spans[i][1]
        return end == len(self._text) or self._text[end].isspace()

    def _word(self, i: int) -> str:
        return self._lower[i] if 0 <= i < len(self._lower) else ""
