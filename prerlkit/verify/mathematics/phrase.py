"""Takes the answer out of a phrase of prose, whole: "therefore 5 apples, because…" is `5 apples`."""

from __future__ import annotations

import re

from prerlkit.verify.mathematics.prose import harmless_rest, is_subject, keeps, stated
from prerlkit.verify.mathematics.units import unit_of
from prerlkit.verify.mathematics.worked import last_worked_sum

_TAIL = 2_000  # characters at the end in which the last formula or number is looked for

_NUMBER = re.compile(
    r"[-−]?[$€£]?[ \t]?"
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:(?<=\d)\.\d+|(?<!\d)\.\d+)?"  # 1,234 or 1234, then .5, or .5 alone
    r"(?:(?<=\d)/[1-9]\d*)?(?<=\d)(?:[ \t]?\\?%)?"  # /7, %
)
_MATHS = re.compile(
    r"\$\$([^$]+)\$\$|(?<![\\\w])\$([^$\n]+)\$|\\\(((?:[^\\\n]|\\(?!\)))+)\\\)|\\\[((?:[^\\]|\\(?!\]))+)\\\]"
)
_OPENING = re.compile(
    r"(?:(?:therefore|thus|then|so|hence|simply|just|clearly|indeed|also|exactly|equal to|given by|found to be|that"
    r"|:|=|\*+)[\s,]*)+",
    re.IGNORECASE,
)
_NAMED = re.compile(r"([A-Za-z]{2,}\s.*)\b(?:is|are|equals)\s+(?!not\b)(.+)", re.IGNORECASE)
_CLOSING = re.compile(
    r"\s*(?:,?\s+(?:because|since|as|which|so|when|where|for|if|by|in total|not|of the|on|at|from|using|due|after|i\.e"
    r"|that)\b|,\s+(?!and\b|or\b)[a-z]|\s\([a-z]|;\s+[a-z]|\?|!\s).*",
    re.DOTALL | re.IGNORECASE,
)
_LAST_DIGIT = re.compile(r"\d(?=\D*\Z)")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n")
_BETWEEN = re.compile(r"\s*(?:,|;|,?\s*\b(?:and|or)\b)\s*", re.IGNORECASE)
# Each character can be matched in one way only, so that no text takes time by its square.
_MATHY = re.compile(
    r"(?:\\[A-Za-z]+|\\(?![A-Za-z])|[-+*/=<>^_()\[\]{}|\d.,!%$~'√π∞≤≥≠±×÷·°½⅓⅔¼¾²³−€£₹]"
    r"|(?<![A-Za-z])(?:(?:sqrt|sin|cos|tan|log|ln|pi|exp|abs)(?![a-z])|[A-Za-z](?![A-Za-z])))+"
)
_OPERATOR = re.compile(r"[-+*/^=<>×·≤≥]|\\(?:cdot|times|pm|le|ge|cup|in)")
_PROSE = ("a", "A", "I")  # words of one letter


def answer_of_phrase(phrase: str) -> str:
    """Return the answer that a phrase states; all of the phrase where it is something that only looks like one.

    "$5$, because …" is 5, "$5$ and $6$" are both, "at least 5" and "half of 42" stay what they are.
    """
    phrase = phrase.strip().strip("*").strip()
    if (named := _NAMED.fullmatch(phrase)) and is_subject(named[1]):
        phrase = named[2]
    if opening := _OPENING.match(phrase):
        phrase = phrase[opening.end() :]
    formulas = list(_MATHS.finditer(phrase))
    if formulas and not phrase[: formulas[0].start()].strip("* "):
        kept, end = [_inside(formulas[0])], formulas[0].end()
        for formula in formulas[1:]:
            if not _BETWEEN.fullmatch(phrase[end : formula.start()]):
                break
            kept.append(_inside(formula))
            end = formula.end()
        rest = phrase[end:].strip(" .*")
        listed = ", ".join(kept)
        closes = _CLOSING.fullmatch(phrase[end:]) and harmless_rest(phrase[end:].strip(" ,(;"))
        return listed if not rest or closes else f"{listed} {rest}"
    if (closing := _CLOSING.search(phrase)) and harmless_rest(closing[0].strip(" ,(;")):
        shorter = phrase[: closing.start()].rstrip(" ,")
        if shorter and re.search(r"[\d\\]", shorter):
            return shorter
    return phrase


def _inside(formula: re.Match[str]) -> str:
    return next(group for group in formula.groups() if group).strip()


def last_number(text: str) -> str | None:
    """Return the last number: thousands separators, decimals, a/b, a sign and a percent sign belong to it.

    None where it is part of something longer, as in `5x`, `10^5` or `3 + 4`.
    """
    words = text[-_TAIL:].split()
    for i in range(len(words) - 1, -1, -1):
        word = re.sub(r"\\(?:boxed|fbox|text)\s*\{|\\[()\[\]]|[{}*\"]|\\(?=%)", "", words[i]).strip("()[];:!?'")
        if not re.search(r"\d", word) or re.match(r"[A-Za-z]+\d", word):
            continue  # H2O is a word
        number = re.split(r"[=≈]", word.rstrip(".,$"))[-1].replace("−", "-")
        if re.fullmatch(r"[\d.]+(?:,[\d.]+)+", number) and not _NUMBER.fullmatch(number):
            number = number.rpartition(",")[2]
        unit = re.fullmatch(r"(.*\d)([A-Za-z]{2,})", number)
        number = unit[1] if unit and unit_of(unit[2]) else number
        if not _NUMBER.fullmatch(number):
            number = number.replace("$", "")
        sign = words[i - 1] if i else ""
        if not _NUMBER.fullmatch(number):
            return None
        if i and _OPERATOR.fullmatch(sign) and sign != "=":
            return f"-{number}" if sign in "-−" and (i < 2 or words[i - 2].endswith(("=", ":"))) else None
        return number
    return None


def last_maths(text: str) -> str | None:
    """Return the last formula between dollars, brackets or parentheses, or the mathematics in the prose after it.

    None where there is none, or where the words around it don't say that it is so.
    """
    text = re.sub(r"<<[^<>\n]*>>", "", text[-_TAIL:])  # GSM8K's calculator
    formulas = list(_MATHS.finditer(text))
    if worked := _worked_out(text):
        return worked
    if found := _last_run(text[formulas[-1].end() if formulas else 0 :]):
        before, run, after, result = found
        before = (_words(text[: formulas[-1].end()]) if formulas else []) + before
        if not run or r"\boxed" in run:  # an empty box, or one that doesn't end
            return None
        return run if stated(before, after, not result and _NUMBER.fullmatch(run) is not None) else None
    if not formulas:
        return None
    kept = [formulas[-1]]
    while len(kept) < len(formulas) and _BETWEEN.fullmatch(text[formulas[-len(kept) - 1].end() : kept[0].start()]):
        kept.insert(0, formulas[-len(kept) - 1])
    number = len(kept) == 1 and _NUMBER.fullmatch(_inside(kept[0])) is not None
    if not stated(_words(text[: kept[0].start()]), _words(text[kept[-1].end() :]), number):
        return None
    return kept[0].group(kept[0].lastindex or 0) if len(kept) == 1 else ", ".join(map(_inside, kept))


def _worked_out(text: str) -> str | None:
    """The result of the sum that the last sentence with a number works out, if nothing in it says otherwise."""
    last = _LAST_DIGIT.search(text)
    if last is None:
        return None
    begins = max((end.end() for end in _SENTENCE_END.finditer(text, 0, last.start())), default=0)
    ends = _SENTENCE_END.search(text, last.end())
    sentence, later = (text[begins : ends.start()], text[ends.end() :]) if ends else (text[begins:], "")
    if re.search(r"\\|\$(?!\d)", sentence):  # dollars around formulas
        return None
    if (found := last_worked_sum(sentence)) is None:
        return None
    start, result, end = found
    return result if keeps(sentence[:start].split(), sentence[end:].split(), later.split()) else None


def _words(text: str) -> list[str]:
    """The words, with a semicolon where a line ends."""
    return re.sub(r"\n\s*", " ; ", text).split()


def _last_run(text: str) -> tuple[list[str], str, list[str], bool] | None:
    """The last words that are mathematics, with "and" between them, and the words before and after; None without.

    The last is whether they are the result of an equation, which needs no words to state it.
    """
    words = _words(text)
    end = len(words)
    while end and not (_is_mathy(words[end - 1]) and re.search(r"\d|\\|π|√", words[end - 1])):
        end -= 1
    if not end:
        return None
    start = end - 1
    while end < len(words) and _is_mathy(words[end]) and words[end - 1][-1] not in ".,;:" and words[end] not in _PROSE:
        end += 1  # 5 ≤ x
    while start and not words[start - 1].endswith((".", ";", ":", "?", "!")):
        before = words[start - 1]
        joins = before in ("and", "or") and start > 1 and _is_mathy(words[start - 2])
        if not joins and (not _is_mathy(before) or (before in _PROSE and not _OPERATOR.match(words[start]))):
            break
        start -= 1
    ending = re.search(r"[.;!?]\W*$", words[end - 1])
    run = _last_equation(re.sub(r"(?<!\d)[.,;:!?*]+$|[.,;:?*]+$", "", " ".join(words[start:end])).strip("*"))
    if re.fullmatch(r"\(\d+\)|\d+\)", run):
        return None  # a reference
    result = "=" in " ".join(words[start:end])
    return words[:start], run, [*([ending[0]] if ending else []), *words[end:]], result


def _is_mathy(word: str) -> bool:
    return word == "*" or (len(word) < _TAIL and _MATHY.fullmatch(word.rstrip(";:?*")) is not None)


def _last_equation(run: str) -> str:
    """Of sums worked out one after the other, `48/2 = 24, 48 + 24 = 72`, the last result."""
    if "=" not in run:
        return run
    last = re.split(r",\s+", run)[-1]
    left, _, right = last.rpartition("=")
    return right.strip() if left and not re.search(r"[A-Za-z\\]", left) else run
