"""The words by which `prerlkit.verify.options` tells whether a letter is an option, chosen or denied. In lower case."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _pairs(text: str) -> frozenset[tuple[str, str]]:
    split = (pair.strip().split() for pair in text.split(","))
    return frozenset((first, second) for first, second in split)


OPTION_WORDS = _words("option options choice choices letter letters alternative alternatives")
BE = _words("is are was were be it's that's")

LEADS = (
    OPTION_WORDS
    | BE
    | _words("answer choose chose chosen pick picked select selected selecting choosing mark")
    | _words("so therefore thus hence then say think believe guess either both between also but rather instead")
    | _words("clearly definitely certainly probably likely obviously surely simply just only namely actually indeed")
    | _words("possibly perhaps maybe sure otherwise else")
)
"""Words after which a lone letter is an option."""
LEAD_PAIRS = _pairs("go with, goes with, going with, went with, points to, corresponds to, leads to")

DENY = (
    _words("not no never neither nor cannot none except unlike over doubt without")
    | _words("eliminate eliminates eliminated eliminating exclude excludes excluded excluding")
    | _words("hardly scarcely besides unless")
    | _words("reject rejects rejected rejecting discard discards discarded discarding dismiss dismisses dismissed")
)
"""Words that deny the letters after them, next to those that end in "n't"."""
DENY_PAIRS = _pairs(
    "instead of, rather than, other than, rule out, rules out, ruled out, ruling out, anything but, "
    "apart from, aside from, far from"
)
EVERY = _words("all any every each everything anything everyone anyone")
OF_OPTIONS = OPTION_WORDS | _words("of the these those other others answer answers one")
"""Words between one of EVERY and a "but" that excludes: "any of the options but B"."""
FRESH = _words("but however therefore thus hence so because since")
"""Words that begin a clause to which an earlier "not" does not extend."""
FRESH_AFTER_COMMA = _words("the then my it it's this that's we i")
"""Words that do so behind a comma only: "it is not A, it is B", but "I doubt it is B"."""

WRONG = _words("wrong incorrect false impossible invalid unlikely inaccurate untrue improbable implausible doubtful")
RIGHT = _words("correct right true best answer choice option only valid")
VERBS = _words(
    "is are was were isn't aren't wasn't can can't cannot could couldn't does doesn't do don't did didn't seems seem "
    "looks look must would wouldn't will won't has should shouldn't"
)
"""Words with which something is said of a letter: "B is wrong"."""

REASON = _words(
    "because since as due given for which where whereas while although though even so considering thus therefore"
)
"""Words that begin the reasons behind a choice, in which other letters do not count."""
AFTER = (
    REASON
    | _words("not but rather instead over based by only here too then hence unlike except with if alone")
    | _words("obviously clearly certainly definitely")
)
"""Words that may follow an option's letter, and never follow the article "A"."""
AFTER_CHOICE = _words("when from after using according on through via under assuming provided")
"""Words that do so where the words before announce an answer; a line of prose may begin "B from the left is …"."""
IN = _words(
    "this that these my fact general conclusion summary short accordance line view light both all any each every"
)
"""Words that follow "in" in such a place: "A in this case"."""
CONDITIONS = _words("if when whenever where for given in")
STATEMENTS = _words("loop statement clause block condition")
"""Words before which AFTER does not hold: "A for loop" begins with an article."""
JOINS = _words(", ; / & and or nor and/or")
PERHAPS = _words("possibly perhaps maybe also even alternatively potentially")
CLOSING = _words(") ] }")
BEFORE_LISTED = OPTION_WORDS | PERHAPS | _words("and or nor & /")
"""Words before a letter that continues a list."""
AFTER_LISTED = CLOSING | _words(", . ; and or nor & /") | {""}
"""Words after such a letter; "" is the end of the text."""
