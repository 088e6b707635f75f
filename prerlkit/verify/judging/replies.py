"""Replies of a judge kept on disk, one file each, by a digest of everything that decides them.

Several processes may share the folder: a file is written under a random name and renamed. A file that is damaged is
treated as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path


class Replies:
    """A folder of replies. A disk that is full or can't be written costs the reuse of a reply and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, request: str) -> str | None:
        """Return the reply to a request, or None."""
        try:
            found = json.loads(self._file(request).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or not isinstance(reply := found.get("reply"), str):
            return None
        return reply if found.get("sha256") == _digest(request, reply) else None

    def put(self, request: str, reply: str) -> None:
        """Keep a reply."""
        path = self._file(request)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        text = json.dumps({"sha256": _digest(request, reply), "reply": reply})
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                with open(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def _file(self, request: str) -> Path:
        name = _digest(request)
        return self._folder / name[:2] / f"{name}.json"


def _digest(*texts: str) -> str:
    whole = hashlib.sha256()
    for text in texts:
        part = text.encode("utf-8", errors="surrogatepass")
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()
