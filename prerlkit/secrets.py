"""Keeps tokens and passwords out of what a run says and writes: a message may quote a URL or variable that has one."""

from __future__ import annotations

import os
import re

_NAMES = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY"
    r"|(?:^|_)(?:PAT|KEY|PASS|PW|AUTH|DSN)$|_PWD$",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|(?:sk|pk)-(?:[a-z]+-)*\w{20,}|AKIA[0-9A-Z]{16})"
    # A login in front of a host: all up to the last @, as a password may hold one.
    r"|(?<=://)[^\s/'\"<>]+(?=@)"
    r"|(?<=[?&;])(?:[\w.-]*(?:token|key|secret|passw(?:or)?d|pass|auth|signature|credential|session)|sig|code)=[^\s&;#'\"<>]+",
    re.IGNORECASE,
)
_SHORTEST = 8
"""A shorter value of such a variable (TOKENIZERS_PARALLELISM=false) is a word, not a secret."""
HIDDEN = "[hidden]"


def named_like_secret(name: str) -> bool:
    """Return whether the values of an environment variable of this name are left out of messages."""
    return _NAMES.search(name) is not None


def redact(text: str) -> str:
    """`text` without the values of environment variables that are named like secrets, Hub tokens, and URLs' logins."""
    values = {v for k, v in os.environ.items() if _NAMES.search(k) and len(v) >= _SHORTEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, text)
