"""What a Hub keeps: a repository's branches and commits; and the faults that a test asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

ZERO = "0" * 40


@dataclass
class Repo:
    """branches: name → commit ids, newest last; commits: id → {path: bytes}."""

    private: bool = False
    branches: dict[str, list[str]] = field(default_factory=lambda: {"main": []})
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)  # paths that are LFS files
    messages: list[str] = field(default_factory=list)

    def resolve(self, revision: str) -> str | None:
        if revision in self.branches:
            ids = self.branches[revision]
            return ids[-1] if ids else ZERO
        return revision if revision in self.commits or revision == ZERO else None

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits.get(self.resolve(revision) or "", {})

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        content = json.dumps([sorted((k, hashlib.sha256(v).hexdigest()) for k, v in files.items()), len(self.commits)])
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch].append(sha)
        self.messages.append(message)
        return sha


@dataclass
class Fault:
    """Breaks requests whose "METHOD path" matches: with a status, or (None) by cutting the connection."""

    pattern: str
    status: int | None
    times: int = 1_000_000
