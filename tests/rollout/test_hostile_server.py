"""A vLLM server that a recipe names: it gets no key for another host, and can't fill the memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prerlkit.errors import EngineError
from prerlkit.rollout import vllm_server
from prerlkit.rollout.vllm import GoneError
from prerlkit.rollout.vllm_server import ServerVllm


class _Server(BaseHTTPRequestHandler):
    """Redirects to `elsewhere`, or answers with `body`; notes the keys that it sees."""

    elsewhere = ""
    body = b"{}"
    keys: list[str | None]

    def do_GET(self) -> None:
        self.keys.append(self.headers.get("Authorization"))
        self.send_response(302 if self.elsewhere else 200)
        if self.elsewhere:
            self.send_header("Location", self.elsewhere)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def serve() -> Iterator:
    started = []

    def start(**more):
        kind = type("Kind", (_Server,), {"keys": [], **more})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}", kind

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_redirect_is_not_followed_and_the_key_stays(serve, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "key-of-this-user")
    theirs, thief = serve(body=b'{"data": [{"id": "m"}]}')
    asked, first = serve(elsewhere=f"{theirs}/v1/models")
    with pytest.raises(EngineError, match=r"redirects to .*which is not followed"):
        ServerVllm(asked, connections=1, serve="vllm serve m")
    assert first.keys == ["Bearer key-of-this-user"]
    assert thief.keys == []


def test_an_endless_answer_is_one_message(serve, monkeypatch):
    monkeypatch.setattr(vllm_server, "_MOST", 1_000)
    address, _ = serve(body=b" " * 5_000)
    with pytest.raises(GoneError, match="longer than 1000 bytes"):
        ServerVllm(address, connections=1, serve="vllm serve m")
