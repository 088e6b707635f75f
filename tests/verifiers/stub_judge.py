"""A small OpenAI-compatible server that answers as a test says."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str], Any]
"""From the message to a reply's text, or to (status, headers, body), or to None for no answer at all."""
MARKED = re.compile(r"<<< ([0-9a-f]{16})\n(.*)\n\1 >>>", re.DOTALL)


class StubJudge:
    """Attributes: url, requests (bodies and headers as they came), most (requests at the same time)."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with stub._lock:
                    stub.requests.append((body, dict(self.headers)))
                    stub._now += 1
                    stub.most = max(stub.most, stub._now)
                try:
                    self._reply(stub.answer(body["messages"][-1]["content"]))
                finally:
                    with stub._lock:
                        stub._now -= 1

            def _reply(self, answer: Any) -> None:
                if answer is None:
                    return
                status, headers, data = answer if isinstance(answer, tuple) else (200, {}, reply(answer))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in data if isinstance(data, list) else [data]:
                    try:
                        self.wfile.write(part)
                    except OSError:
                        return
                    if isinstance(data, list):
                        time.sleep(0.1)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def reply(text: str | None, why: str = "stop") -> bytes:
    """The body of a chat completion."""
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": why}]}).encode()


@contextmanager
def serving(answer: Answer) -> Iterator[StubJudge]:
    """Run a stub in a thread."""
    stub = StubJudge(answer)
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.server.shutdown()
        stub.server.server_close()
        thread.join()


def judged(message: str) -> str:
    """The completion as the judge sees it, or "" in the request before a run."""
    found = MARKED.search(message)
    return found[2] if found else ""


def knows_paris(message: str) -> str:
    """A judge for the verifier's own gold cases."""
    return f"It says {judged(message)!r}.\nScore: {int('Paris' in judged(message))}"
