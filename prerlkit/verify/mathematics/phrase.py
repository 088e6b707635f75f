"""Takes the answer out of a phrase of prose, whole: "therefore 5 apples, because…" is `5 apples`."""

from __future__ import annotations

import re

from prerlkit.verify.mathematics.units import FRACTIONS, NUMBERS, unit_of
from prerlkit.verify.mathematics.words import number_of_words, operative

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
_NAMED = re.compile(r"[A-Za-z]{2,}\s(?:(?!\bnot\b).)*\b(?:is|are|equals)\s+(?!not\b)(.+)", re.IGNORECASE)
_CLOSING = re.compile(
    r"\s*(?:,?\s+(?:because|since|as|which|so|when|where|for|if|by|in total|not|of the|on|at|from|using|due|after|i\.e"
    r"|that)\b|,\s+(?!and\b|or\b)[a-z]|\s\([a-z]|;\s+[a-z]|\?|!\s).*",
    re.DOTALL | re.IGNORECASE,
)
_BETWEEN = re.compile(r"\s*(?:,|;|,?\s*\b(?:and|or)\b)\s*", re.IGNORECASE)
# Each character can be matched in one way only, so that no text takes time by its square.
_MATHY = re.compile(
    r"(?:\\[A-Za-z]+|\\(?![A-Za-z])|[-+*/=<>^_()\[\]{}|\d.,!%$~'√π∞≤≥≠±×÷·°½⅓⅔¼¾²³−€£₹]"
    r"|(?<![A-Za-z])(?:(?:sqrt|sin|cos|tan|log|ln|pi|exp|abs)(?![a-z])|[A-Za-z](?![A-Za-z])))+"
)
_VERBS = frozenset(
    re.findall(
        r"\S+",
        """is are was were be been equals get gets got has have had gives give gave makes make leaves left costs cost
        so then that total there answer""",
    )
)
"""Words after which a statement of a value begins."""
_REFERENCES = frozenset(
    re.findall(
        r"\S+",
        """equation step figure theorem lemma corollary proposition section chapter page table line case part problem
        question exercise example base mod modulo power root cube square""",
    )
)
"""Words of which the number next to them is the name."""
_JOINS = frozenset(["by", "of", "to", "through", "out", "the", "from", "up"])
_REFUSED = re.compile(
    r"(?:is|are|was|were|does|do|did|can|will|would|seems?|looks?)?\s*"
    r"(?:n['’]t|not|cannot|never|wrong|incorrect|false|too|impossible|invalid)\b",
    re.IGNORECASE,
)
"""What takes a value back after it."""
_ANOTHER = re.compile(
    r"(?:,|;|\band|\bbut|\bso)\s+(?:(?:then|so|is|in fact|it is)\s+)*[-$\\]?\d|\b(?:wrong|incorrect)\b"
)
_OPERATOR = re.compile(r"[-+*/^=<>×·≤≥]|\\(?:cdot|times|pm|le|ge|cup|in)")
# Words that change what a number next to them says.
_PROSE = ("a", "A", "I")  # words of one letter
_DENIED = re.compile(r"(?:not|never|cannot|no|neither|nor|\w+n't)", re.IGNORECASE)
_AFTER = (
    NUMBERS.keys()
    | FRACTIONS.keys()
    | frozenset(re.findall(r"\S+", """squared cubed times plus minus factorial point percent root"""))
)


def answer_of_phrase(phrase: str) -> str:
    """Return the answer that a phrase states; all of the phrase where it is something that only looks like one.

    "$5$, because …" is 5, "$5$ and $6$" are both, "at least 5" and "half of 42" stay what they are.
    """
    phrase = phrase.strip().strip("*").strip()
    if (named := _NAMED.fullmatch(phrase)) and not operative(phrase[: named.start(1)]):
        phrase = named[1]
    if opening := _OPENING.match(phrase):
        phrase = phrase[opening.end() :]
    formulas = list(_MATHS.finditer(phrase))
    if (closing := _CLOSING.search(phrase)) and re.search(r"\d", phrase[: closing.start()]):
        because = re.match(r"\s*,?\s*(?:because|since)\b", closing[0])
        if not because and _ANOTHER.search(closing[0][1:]):
            return phrase  # 5 where x is even, 6 elsewhere
    if formulas and not phrase[: formulas[0].start()].strip("* "):
        kept, end = [_inside(formulas[0])], formulas[0].end()
        for formula in formulas[1:]:
            if not _BETWEEN.fullmatch(phrase[end : formula.start()]):
                break
            kept.append(_inside(formula))
            end = formula.end()
        rest = phrase[end:].strip(" .*")
        listed = ", ".join(kept)
        return listed if not rest or _CLOSING.fullmatch(phrase[end:]) or len(kept) > 1 else f"{listed} {rest}"
    if closing := _CLOSING.search(phrase):
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
    """Return the last formula between dollars, brackets or parentheses, or the mathematics in the prose after it."""
    text = re.sub(r"<<[^<>\n]*>>", "", text[-_TAIL:])  # GSM8K's calculator
    formulas = list(_MATHS.finditer(text))
    end = formulas[-1].end() if formulas else 0
    if (run := _last_run(text[end:])) is not None or not formulas:
        return run
    kept = [formulas[-1]]
    while len(kept) < len(formulas) and _BETWEEN.fullmatch(text[formulas[-len(kept) - 1].end() : kept[0].start()]):
        kept.insert(0, formulas[-len(kept) - 1])
    return kept[0].group(kept[0].lastindex or 0) if len(kept) == 1 else ", ".join(map(_inside, kept))


def _last_run(text: str) -> str | None:
    """The last words that are mathematics, with "and" between them, and words next to them that change their value."""
    words = text.split()
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
    run = _last_equation(re.sub(r"(?<!\d)[.,;:!?*]+$|[.,;:?*]+$", "", " ".join(words[start:end])).strip("*"))
    if re.fullmatch(r"\(\d+\)|\d+\)", run):
        return None  # a reference
    place = start
    while place and not re.search(r"\d|[.;:?!]$", words[place - 1]):
        place -= 1
        if _DENIED.fullmatch(words[place].strip(",").replace("’", "'")):
            return f"not {run}"
    if before := _before(words, start):
        return f"{before} {run}"
    if _REFUSED.match(" ".join(words[end : end + 4])) and not words[end - 1].endswith((".", ",", ";")):
        return f"{run} {' '.join(words[end : end + 4])}"
    following = [re.sub(r"\W+$", "", word).lower() for word in words[end : end + 1]]
    if following and (following[0] in _AFTER or following[0].removesuffix("s") in _AFTER):
        run = f"{run} {' '.join(words[end : end + 3])}".rstrip(".,;:!?")
    return run or None


def _before(words: list[str], start: int) -> str:
    """The words right before a formula where they change what it says: "twice", "the square root of"; else ""."""
    first = start
    while first and start - first < 6 and words[first - 1].lower() not in _VERBS:
        if re.search(r"\d|[.,;:?!]$", words[first - 1]):
            break
        first -= 1
    said = " ".join(words[first:start])
    near = words[start - 1].lower() if start else ""
    joined = near in _JOINS and (
        (first and words[first - 1].isdigit() and _JOINS.issuperset(map(str.lower, words[first:start])))
        or any(number_of_words(word) is not None for word in words[first:start])
        or re.search(r"(?<!add )(?<!adds )\bup to$", said)
    )
    return said or near if near in _REFERENCES or operative(said) or joined else ""


def _is_mathy(word: str) -> bool:
    if word in ("*", "**"):
        return word == "*"
    return len(word) < _TAIL and _MATHY.fullmatch(word.rstrip(";:?*")) is not None


def _last_equation(run: str) -> str:
    """Of sums worked out one after the other, `48/2 = 24, 48 + 24 = 72`, the last result."""
    if "=" not in run:
        return run
    last = re.split(r",\s+", run)[-1]
    left, _, right = last.rpartition("=")
    return right.strip() if left and not re.search(r"[A-Za-z\\]", left) else run
