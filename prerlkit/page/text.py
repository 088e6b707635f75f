"""Text of unknown origin, such as a model's, is made safe to show: nothing acts, nothing is invisible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Controls, lone surrogates, and characters that turn the direction of text or have no width. Tabs and line ends stay,
# and so do the joiners (U+200C, U+200D), which Persian, Indic scripts and emoji are written with.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` with such characters written as what they are: [U+001B], [U+202E]. The result can always be encoded."""
    return _INVISIBLE.sub(_name, text.replace("\r\n", "\n"))


def cut(text: str, limit: int) -> tuple[str, int]:
    """Beginning and end of a text that is longer than `limit` characters, and how many are left out between."""
    if len(text) <= limit:
        return text, 0
    tail = limit // 4
    return f"{text[: limit - tail]}\n[…]\n{text[-tail:]}", len(text) - limit


def plain(value: Any) -> Any:
    """JSON values with every text in them visible, and what JSON can't hold (nan, inf) as null."""
    match value:
        case str():
            return visible(value)
        case float():
            return value if value - value == 0 else None
        case Mapping():
            return {visible(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def _name(found: re.Match[str]) -> str:
    return f"[U+{ord(found[0]):04X}]"
