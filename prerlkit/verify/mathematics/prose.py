"""What the words around a number in prose make of it: "so 5 are left" says 5; "twice 5" and "5 is wrong" do not.

A number is taken only after words that are known to state one, and not where the sentence denies it or sets a
condition.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from prerlkit.verify.mathematics.labels import OPERATIVE, is_quantity
from prerlkit.verify.mathematics.units import FRACTIONS, NUMBERS

_STATES = frozenset(
    re.findall(
        r"\S+",
        """
        is are was were be being equals equal equalled get gets got getting have has had need needs needed total totals
        totaled makes make made gives give gave giving obtain obtains find finds found so thus hence therefore then
        finally answer result = ≈ : there costs cost earns earn earned pays pay paid spends spend spent takes take took
        contains weighs weigh saves save saved sold sells sell bought buys buy ate eats eat leaves leave remain remains
        left only just exactly altogether now still value yields yield receives receive received uses use used wins
        collected collects walks walked runs ran read reads drove drives travels traveled becomes became reaches
        conclude that's it's makes charges charged owes owed lost loses holds required requires require want wants
        """,
    )
)
_BEFORE_TO = frozenset(
    re.findall(r"\S+", "equal equals comes add amounts sums simplifies reduces evaluates adds leads down")
)
_BEFORE_OF = frozenset(
    re.findall(r"\S+", "total sum answer value cost profit area volume distance average speed length")
)
_CLAUSE = frozenset(
    re.findall(
        r"\S+",
        """
        so thus hence therefore then and but because since where which
        """,
    )
)
_DENIES = re.compile(
    r"(?:not|never|cannot|no|none|nothing|nobody|neither|nor|wrong|incorrect|false|mistaken?|impossible|doubtful|too"
    r"|\w+n't|isnt|doesnt|instead|rather|unlikely|contradiction|contradicts|fails?|violates?|absurd|without"
    r"|except|excluded"
    r"|reject(?:ed|s)?"
    r"|discarded?|invalid|extraneous)",
    re.IGNORECASE,
)
_CONDITIONS = frozenset(
    re.findall(r"\S+", "if when whenever unless while provided assuming until where wherever depending or than")
)
_REVOKES = re.compile(
    r"\b(?:wrong|incorrect|mistake|not (?:right|correct|true|the answer|a solution)|isn't (?:right|correct)|scratch"
    r"|\w+n't work|contradiction|impossible|extraneous|invalid)\b",
    re.IGNORECASE,
)
_HYPOTHESIS = frozenset(re.findall(r"\S+", "would could might may suppose supposing wish unless almost nearly about"))
_CHANGES = (
    NUMBERS.keys()
    | FRACTIONS.keys()
    | frozenset(re.findall(r"\S+", "squared cubed times plus minus factorial point percent root to by choose less"))
)
"""Words behind a number that make another one of it."""
_JOINS = frozenset(("times", "plus", "minus", "point", "to", "by", "less"))
"""Those of them that need a number behind."""


def _bare(word: str) -> str:
    return word.replace("’", "'").strip("*_,.;:?!()\"'“”").lower()


def _among(word: str, words: Collection[str]) -> bool:
    return word in words or word.removesuffix("s") in words


def _ends_clause(word: str) -> bool:
    return word.rstrip("*").endswith((".", ",", ";", ":", "?", "!")) or re.search(r"\d", word) is not None


def stated(before: Sequence[str], after: Sequence[str], number: bool) -> bool:
    """Return whether what stands between two runs of words is said to be so.

    Args:
        number: it is a number by itself, which says nothing unless the word before it does.
    """
    return _introduced(before, number) and not _taken_back(after)


def keeps(before: Sequence[str], after: Sequence[str], later: Sequence[str]) -> bool:
    """Return whether the words around a sum that is worked out leave its result as it is.

    They don't where they deny something, ask, change the number ("= 8 thirds"), or state another one.
    """
    words = [_bare(word) for word in (*before, *after)]
    if any(_DENIES.fullmatch(word) or word in _HYPOTHESIS for word in words) or _REVOKES.search(" ".join(later)):
        return False
    first = _bare(after[0]) if after else ""
    changes = _among(first, _CHANGES) and (not _among(first, _JOINS) or re.search(r"\d", " ".join(after[1:3])))
    if changes or any("?" in word for word in after):
        return False  # 8 thirds, 8 to 10; but 8 times, 8 to buy bread
    return not any(
        re.search(r"\d", word) and _introduced([*before, *after[:i]], number=True) for i, word in enumerate(after)
    )


def _introduced(before: Sequence[str], number: bool) -> bool:
    clause: list[str] = []
    for word in reversed(before):
        if _ends_clause(word) and _bare(word) not in ("e.g", "i.e"):
            break
        clause.insert(0, _bare(word))
        if clause[0] in _CLAUSE:
            break
    if any(_DENIES.fullmatch(word) or word in OPERATIVE - {"and", "or", "over", "no"} for word in clause):
        return False
    clause = [word for word in clause if word not in ("", "$")]  # the $ of an amount
    if not number or not clause or (before and before[-1].rstrip("*").endswith((":", ".", "!", "?"))):
        return True
    last, earlier = clause[-1], clause[-2] if len(clause) > 1 else ""
    if last in ("a", "an", "the", "these", "those", "all"):
        last, earlier = earlier or "is", clause[-3] if len(clause) > 2 else ""
    if last == "to":
        return (clause[-3] if earlier == "up" and len(clause) > 2 else earlier) in _BEFORE_TO
    if last == "of":
        return earlier in _BEFORE_OF and (earlier != "sum" or "a" in clause)
    return last in _STATES or last in _CLAUSE - {"and", "but", "which", "where", "because", "since"}


def _taken_back(after: Sequence[str]) -> bool:
    """Whether the rest of the sentence denies it or sets a condition, or a later one takes it back."""
    first = _bare(after[0]) if after else ""
    if _among(first, _CHANGES):
        return True  # 5 times, 5 thirds
    for i, word in enumerate(after):
        if _DENIES.fullmatch(_bare(word)) or _bare(word) in _CONDITIONS:
            return True
        if re.search(r"[?]\W*$", word):
            return True
        if re.search(r"[.;!]\W*$", word):
            return _REVOKES.search(" ".join(after[i + 1 :])) is not None
    return False


def harmless_rest(rest: str) -> bool:
    """Return whether what follows an answer in its own sentence leaves it as it is: "because 2 + 3 = 5".

    A reason may hold other numbers, and so may "not 8"; no other words may.
    """
    words = rest.replace("’", "'").split()
    first = _bare(words[0]) if words else ""
    if re.search(r"\?\W*$|\?\s", rest) or re.search(r"\b(?:wrong|incorrect|mistake)\b", rest, re.IGNORECASE):
        return False
    if first in ("because", "since"):
        return True
    if first == "not":
        return len(words) == 2
    if first == "as" and re.search(r"[=+]", rest):
        return True
    return not re.search(r"\d", rest) and not any(
        _DENIES.fullmatch(_bare(word)) or _bare(word) in _CONDITIONS | {"but"} for word in words
    )


def is_subject(words: str) -> bool:
    """Return whether words before "is" only say what the answer is of: `The largest n`, `the area of the square`."""
    words = re.sub(r"^(?:that|so|therefore|thus|hence|then),?\s+", "", words.strip(" *,"), flags=re.I)
    words = re.sub(r"\$([^$]*)\$", r"\1", words)
    known = words.split()
    while known and known[0].lower() in (
        "the",
        "a",
        "smallest",
        "largest",
        "least",
        "greatest",
        "only",
        "final",
        "our",
    ):
        del known[0]
    symbol = len(known) == 1 and re.fullmatch(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?|[a-z]\([a-z0-9]\)", known[0])
    return is_quantity(words) or bool(symbol and known[0].lower() not in OPERATIVE and not _DENIES.fullmatch(known[0]))
