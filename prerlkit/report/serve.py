"""A live report, served on this machine to whoever has its address, and built again when the run has written.

Every user of a machine can reach its local ports. The address holds a random token, without which nothing is answered.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.page.shell import Page
from prerlkit.report.build import build
from prerlkit.runs import lock
from prerlkit.runs.files import RunFiles

HOST = "127.0.0.1"
_PATIENCE = 30.0  # seconds
_SHARE = 0.1
"""At most so much of the time is spent on building: a training run on the same cores goes first."""


class Live:
    """The newest page of some run folders; asked by several threads.

    Raises:
        PrerlkitError: on construction, for a folder that can't be reported on.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._lock = threading.Lock()
        self._wait_until = 0.0
        self._seen = self._signature()
        self._page = build(self._folders)
        self._number = 1
        self._start = time.time_ns()  # an older server's pages must not take ours for theirs

    def newest(self) -> tuple[str, Page]:
        """(version, page). While a file is being replaced, or damaged, the page before stays."""
        with self._lock:
            signature = self._signature()
            begun = time.monotonic()
            if signature != self._seen and begun >= self._wait_until:
                try:
                    self._page = build(self._folders)
                    self._number += 1
                    self._seen = signature
                except (PrerlkitError, OSError):
                    pass
                self._wait_until = time.monotonic() + (time.monotonic() - begun) / _SHARE
            return f"{self._start:x}-{self._number}", self._page

    def _signature(self) -> tuple[object, ...]:
        """What changes when a run writes, begins or ends."""
        found: list[object] = []
        for path in self._folders:
            run = RunFiles(path)
            for file in (run.recipe, run.environment, run.metrics, run.samples, run.evaluations, run.summary):
                try:
                    stat = file.stat()
                    found.append((stat.st_size, stat.st_mtime_ns))
                except OSError:
                    found.append(None)
            found.append(lock.held(path))
        return tuple(found)


class LiveServer(ThreadingHTTPServer):
    """A server on localhost. `address`: of the page, which only who knows it can read."""

    daemon_threads = True

    def __init__(self, live: Live, port: int) -> None:
        token = secrets.token_urlsafe(24)
        super().__init__((HOST, port), _handler(live, token))
        self.address = f"http://{HOST}:{self.server_port}/{token}/"


def server(folders: Sequence[Path], port: int) -> LiveServer:
    """Return a server on localhost, bound and not yet serving; `port` 0 takes a free one.

    Raises:
        UsageError: the port is in use, or not one.
        PrerlkitError: a folder can't be reported on.
    """
    live = Live(folders)
    try:
        return LiveServer(live, port)
    except (OSError, OverflowError) as error:
        raise UsageError(f"Port {port} can't be used: {error}.", "Leave out --port for a free one.") from None


def _handler(live: Live, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "prerlkit", ""
        timeout = _PATIENCE  # a connection that says nothing holds a thread

        def do_GET(self) -> None:
            try:
                url = urlsplit(self.path)
            except ValueError:  # brackets that don't close, for one
                self._answer(400, "text/plain", b"no address")
                return
            _, given, *rest = url.path.split("/", 2) if url.path.startswith("/") else ("", "")
            if not self._is_local() or not hmac.compare_digest(given.encode(), token.encode()):
                self._answer(403, "text/plain", b"only by the address that prerlkit printed")
            elif rest == [""]:
                version, page = live.newest()
                self._answer(200, "text/html; charset=utf-8", page.render("data.json", version).encode())
            elif rest == ["data.json"]:
                version, page = live.newest()
                if parse_qs(url.query).get("version") == [version]:
                    self._answer(304)
                else:
                    body = json.dumps({"version": version, **page.update()}, ensure_ascii=False)
                    self._answer(200, "application/json", body.encode())
            else:
                self._answer(404, "text/plain", b"there is only the page")

        def _is_local(self) -> bool:
            """Against a page elsewhere whose name is made to lead here (DNS rebinding)."""
            name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            return name in (HOST, "localhost")

        def _answer(self, code: int, kind: str = "", body: bytes = b"") -> None:
            self.send_response(code)
            if kind:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal is the person's."""

    return Handler
