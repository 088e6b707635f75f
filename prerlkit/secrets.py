"""Keeps tokens and passwords out of what a run says and writes: a message may quote a URL or variable that has one."""

from __future__ import annotations

import os
import re

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE)
_SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{16,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_SHORTEST = 8
"""A shorter value of such a variable (TOKENIZERS_PARALLELISM=false) is a word, not a secret."""
HIDDEN = "[hidden]"


def redact(text: str) -> str:
    """`text` without the values of environment variables that are named like secrets, Hub tokens, and URLs' logins."""
    values = {v for k, v in os.environ.items() if _NAMES.search(k) and len(v) >= _SHORTEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, text)
