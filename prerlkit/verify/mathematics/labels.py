"""Names of quantities in words: what may stand before an answer, as in `Total cost: 5` or `area of ABC = 5`.

Words are harmless only where they are known: `Square root of: 5` and `half = 5` say something else than 5. So a name is
made of nouns from a list, with adjectives from a list before them, and what they belong to behind them.
"""

from __future__ import annotations

import re
from functools import lru_cache

_NOUNS = frozenset(
    re.findall(
        r"\S+",
        """
        age amount angle answer answers apothem area average balance base capacity chance change charge circumference
        coefficient conclusion constant cost count date day degree density depth determinant diagonal diameter dimension
        discount discriminant distance domain duration earnings eccentricity expectation expenses fee force fraction
        frequency gcd gcf height hypotenuse income increase intercept interest lcm lead leg length likelihood limit
        loss mass maximum mean median minimum mode momentum money norm number numbers payment percentage perimeter
        period point points population position pressure price probability product profit proportion quotient
        radius range rank rate ratio remainder rent result revenue roots salary score semiperimeter share side
        size slope solution solutions spending speed sum surface tax temperature tens term thickness time tip
        total units value values variance velocity vertex volume wage weight width work year years
        matrix vector expression formula equation function set interval polynomial pair line plane option
        """,
    )
)
_ADJECTIVES = frozenset(
    re.findall(
        r"\S+",
        """
        actual amplitude average base combined common constant current daily desired entire exact expected final first
        full greatest hourly initial largest last lateral leading least leftover lowest highest maximal maximum mean
        minimal minimum monthly my new next only original our overall positive possible real remaining
        required sale same second selling shortest longest smallest surface third total unique unknown weekly whole
        yearly special general particular simplified resulting ordered correct closed
        """,
    )
)
_ARTICLES = frozenset(["the", "a", "an", "its", "his", "her", "their", "this", "that", "each", "every", "all", "both"])
_JOINTS = frozenset(["of", "in", "for", "per", "at", "on", "from", "to", "by", "with", "between"])
_DONE = frozenset(
    re.findall(r"\S+", "left remaining needed required spent earned saved paid sold bought made used eaten traveled is")
)
OPERATIVE = frozenset(
    re.findall(
        r"\S+",
        """
        not no none nothing nobody never neither nor cannot without except but unless if wrong incorrect false twice
        thrice half halves double doubled triple tripled quadruple third thirds quarter quarters fourth fifth fifths
        sixth seventh eighth ninth tenth square squared squares cube cubed cubes log logarithm sine cosine tangent
        negative minus plus times less more fewer greater reciprocal inverse opposite factorial percent multiple
        multiples divided multiplied under over above below exceeds and or root roots power
        """,
    )
)
_SYMBOLS = re.compile(r"[A-Z]{1,5}'*|[a-z]|\d+")
_COUNTED_OFF = frozenset(
    re.findall(r"\S+", "room option choice day page number problem question no. chapter grade level team group player")
)


@lru_cache(maxsize=4096)
def is_quantity(words: str) -> bool:
    """Return whether words name a quantity without changing what number it is said to be."""
    known = words.lower().split()
    while known and (known[0] in _ARTICLES or (known[0] in _ADJECTIVES and len(known) > 1)):
        del known[0]
    if not known or known[0] not in _NOUNS:
        return False
    while known and known[0] in _NOUNS:
        del known[0]
    if not known or (len(known) == 1 and known[0] in _DONE):
        return True
    return known[0] in _JOINTS and len(known) > 1 and _owner(words.split()[-len(known) + 1 :])


def _owner(words: list[str]) -> bool:
    """Whether words say what a quantity belongs to: `the roots`, `apples left`, `triangle ABC`."""
    for i, word in enumerate(words):
        if word.lower() in OPERATIVE and not (word.lower() in ("roots", "squares", "cubes") and i == len(words) - 1):
            return False
        if not re.fullmatch(r"[A-Za-z][a-z'-]+", word) and not _SYMBOLS.fullmatch(word):
            return False
    return True


def is_label(words: str) -> bool:
    """Return whether words before a colon only announce an answer."""
    words = words.strip(" *:=").lower()
    return is_quantity(words.removesuffix(" is").removesuffix(" are"))


def numbered(word: str) -> bool:
    """Return whether a word before a number only says what the number counts off: `Room 5`."""
    return word.lower() in _COUNTED_OFF
