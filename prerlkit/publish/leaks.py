"""Keeps secrets and paths of this machine out of uploads: every file is searched before the first byte is sent."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from prerlkit.errors import PrerlkitError
from prerlkit.files import stays_in

_SECRETS = (
    ("a Hugging Face token", re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")),
    ("an API key", re.compile(rb"\b(?:sk|pk)-(?:[a-z]+-)*[A-Za-z0-9_]{32,}\b")),
    ("an AWS key", re.compile(rb"\bAKIA[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b")),
    ("a private key", re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a password in an address", re.compile(rb"\b[a-z][a-z0-9+]*://[^\s/:@\"']+:[^\s/@\"']+@")),
)
_PATHS = re.compile(
    rb"(?<![\w./:])(?:/(?:home|Users|root|mnt|media|tmp|var|data|work|workspace|scratch|opt|srv)/[\w.@+-]+|[A-Za-z]:\\\\?[\w.])"
)
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "*.model")
"""Words of a vocabulary may look like paths; only this machine's paths and secrets are searched for in these files."""
_GGUF_HEAD = 1 << 20
_LONGEST_HEAD = 100_000_000
"""Most bytes of a safetensors file's head: its library accepts no longer one."""


def check_inside(file: Path, folder: Path) -> None:
    """Check that a file is no link to a file outside of its folder: in a folder from others this may be a private file.

    Raises:
        PrerlkitError: it is.
    """
    if not stays_in(file, folder):
        raise PrerlkitError(
            f"{file} is a link to a file outside of its folder. It is neither copied nor uploaded.",
            "Put that file in its place, if it belongs there.",
        )


def check_leaks(files: Iterable[tuple[str, Path | bytes]], *, own: Sequence[str], secrets: Sequence[str]) -> None:
    """Search everything that would be uploaded for secrets and local paths.

    Args:
        files: path in the repository, and content.
        own: paths of this machine that must not occur anywhere.
        secrets: exact values that must not occur anywhere (the token in use).

    Raises:
        PrerlkitError: names the finding and its place; it does not repeat a secret.
    """
    for name, content in files:
        text = _text(name, content)
        found = _find(name, text, own, secrets)
        if found:
            what, place = found
            line = text.count(b"\n", 0, place) + 1
            raise PrerlkitError(
                f"{name}, line {line}, holds {what}; nothing was uploaded.",
                "Remove it from the recipe (or from the base's files) and push again; a secret that was written down "
                "should be replaced too.",
            )


def _find(name: str, text: bytes, own: Sequence[str], secrets: Sequence[str]) -> tuple[str, int] | None:
    for secret in secrets:
        if secret and (place := text.find(secret.encode())) >= 0:
            return "the token that is used for uploading", place
    for path in own:
        if len(path) > 1 and (place := text.find(path.encode())) >= 0:
            return f"a path of this machine ({path})", place
    for what, pattern in _SECRETS:
        if match := pattern.search(text):
            return what, match.start()
    if not any(Path(name).match(v) for v in _VOCABULARIES) and (match := _PATHS.search(text)):
        return f"a path that looks local ({match[0].decode(errors='replace')})", match.start()
    return None


def _text(name: str, content: Path | bytes) -> bytes:
    """Return the part of a file that can hold text: all of it, or a weight file's head."""
    if isinstance(content, bytes):
        return b"" if name.endswith(".png") else content
    with content.open("rb") as file:
        if name.endswith(".safetensors"):
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
            return file.read(min(length, _LONGEST_HEAD))
        return file.read(_GGUF_HEAD) if name.endswith(".gguf") else file.read()
