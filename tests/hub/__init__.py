"""A small Hub on localhost that speaks the protocol of the real one, as far as huggingface_hub uses it for models.

Branches of commits, each a map of paths to content; LFS objects by sha256, which need not be in a commit; tokens with
roles. `faults` breaks chosen requests: a status, or a cut connection in the middle of the body. Tests get it from the
fixture `new_hub`; `python -m tests.hub` runs one by hand.
"""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from typing import Any

from .calls import Calls
from .repo import Fault, Repo

__all__ = ["Fault", "Hub", "Repo"]


class Hub:
    """The state, and a server of it in a thread."""

    Fault = Fault

    def __init__(self, port: int = 0) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.received = 0  # bytes of LFS objects
        self.lock = threading.RLock()
        hub = self

        class Handler(Calls):
            state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget everything but the address."""
        with self.lock:
            for part in (self.repos, self.objects, self.tokens, self.faults, self.log):
                part.clear()
            self.received = 0

    def user(self, token: str, name: str, role: str = "write", orgs: tuple[str, ...] = (), scoped: Any = None) -> None:
        access: dict[str, Any] = {"displayName": f"{role} token", "role": role}
        if scoped is not None:
            access["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
        self.tokens[token] = {
            "type": "user",
            "name": name,
            "orgs": [{"name": org} for org in orgs],
            "auth": {"type": "access_token", "accessToken": access},
        }

    def put(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """A commit made behind the client's back."""
        with self.lock:
            return self.repos.setdefault(repo, Repo()).commit(branch, files, "put")
