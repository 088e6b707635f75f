"""Finds what stands between tags such as `<answer>` and `</answer>`, in time that grows with the text only."""

from __future__ import annotations

import re


def last_tagged(text: str, tag: str) -> str | None:
    """Return what the last complete pair of tags holds, in any case of letters; None without one.

    A pair is an opening tag and the next closing one; an opening tag between them begins the pair again.
    """
    start, found = -1, None
    for mark in re.finditer(rf"<(/?){re.escape(tag)}>", text, re.IGNORECASE):
        if not mark[1]:
            start = mark.end()
        elif start >= 0:
            found, start = (start, mark.start()), -1
    return None if found is None else text[slice(*found)]
