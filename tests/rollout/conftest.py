"""A stand-in for `vllm serve`: it speaks its protocol and answers from a request's own prompt and seed."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

END = 9


class Handler(BaseHTTPRequestHandler):
    """Answers as `vllm serve` does, from what the test put into the server."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, {"data": [{"id": "other", "parent": "base"}, {"id": "base", "parent": None}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers.get("Authorization")))
        if self.path in self.server.refuse:
            return self.answer(*self.server.refuse[self.path])
        if self.path == "/tokenize":
            return self.answer(200, {"tokens": [ord(c) for c in body["prompt"]]})
        if self.path == "/v1/completions":
            token = (sum(body["prompt"]) + body.get("seed", 0)) % 100_003  # as if drawn: from the prompt and the seed
            choice = {"token_ids": [token, END], "logprobs": {"token_logprobs": [-0.5, -0.25]}}
            choice["finish_reason"] = self.server.finish_reason
            if "prompt_logprobs" in body:
                choice["prompt_logprobs"] = [None] + [{str(t): {"logprob": -float(t)}} for t in body["prompt"][1:]]
            return self.answer(200, {"choices": [choice]})
        if self.path == "/v1/load_lora_adapter" and "no-such" in body["lora_path"]:
            return self.answer(404, {"error": f"No adapter found for {body['lora_path']}"})
        return self.answer(200, "fine")

    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def serve():
    """Start a server; it has `address`, `asked` (path, body, key), and `refuse` (path: code and answer),
    and `finish_reason`."""
    started = []

    def start():
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.asked, server.refuse, server.finish_reason = [], {}, "stop"
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(serve):
    return serve()
