"""A position in the text of a formula."""

from __future__ import annotations

import re

from prerlkit.verify.mathematics.formula import Unreadable

COMMAND = re.compile(r"\\([A-Za-z]+)")
WORD = re.compile(r"[A-Za-z]+")
CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}


class Scanner:
    """Takes pieces off the front of a text, and the spaces before them."""

    def __init__(self, text: str) -> None:
        self._left = text
        self.last = ""
        """The choice that was taken last."""

    def rest(self, strip: bool = True) -> str:
        """Return what has not been taken."""
        return self._left.lstrip() if strip else self._left

    def skip(self, left: int) -> None:
        """Take all but so many characters."""
        self._left, self.last = self._left[len(self._left) - left :], ""

    def take(self, *choices: str) -> str | None:
        """Take the first of the choices that comes next, and return it; None where none does."""
        rest = self.rest()
        for choice in choices:
            if rest.startswith(choice):
                self._left, self.last = rest[len(choice) :], choice
                return choice
        return None

    def at(self, *choices: str) -> bool:
        """Return whether one of the choices comes next."""
        return self.rest().startswith(choices)

    def group(self) -> str:
        """Take the text of one argument: in braces, or one character or command.

        Raises:
            Unreadable: there is none, or its brace is not closed.
        """
        rest = self.rest()
        if rest[:1] != "{":
            one = COMMAND.match(rest) or re.match(r".", rest, re.DOTALL)
            if one is None:
                raise Unreadable("an argument is missing")
            self._left = rest[one.end() :]
            return one[0]
        depth = 0
        for end, character in enumerate(rest):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                self._left = rest[end + 1 :]
                return rest[1:end]
        raise Unreadable("} is missing")
