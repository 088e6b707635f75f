"""The live page's server: this machine only, nothing but the page, a clean end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

from prerlkit.errors import UsageError
from prerlkit.report.serve import Live, server


@pytest.fixture
def serving(make_run):
    made = server([make_run(done=3, reason=None)], 0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def base(serving):
    """The part of the address that holds the token."""
    return urlsplit(serving.address).path.rstrip("/")


def get(serving, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", serving.server_port, timeout=20)
    connection.request("GET", f"{base(serving)}{path}", headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_it_listens_on_this_machine_alone_and_gives_the_page_and_its_data(serving):
    assert serving.server_address[0] == "127.0.0.1"
    status, text = get(serving, "/")
    assert status == 200
    assert '"live":"data.json"' in text
    status, text = get(serving, "/data.json?version=")
    assert status == 200
    update = json.loads(text)
    assert update["charts"]["reward"]["x"] == [1, 2, 3]
    assert get(serving, f"/data.json?version={update['version']}") == (304, "")


@pytest.mark.parametrize("path", ["/recipe.yaml", "/../recipe.yaml", "//etc/passwd", "/metrics.jsonl"])
def test_no_file_is_served(serving, path):
    assert get(serving, path)[0] == 404


def test_a_page_elsewhere_can_not_read_it_through_a_name_of_its_own(serving):
    assert get(serving, "/data.json", host="evil.example:80")[0] == 403
    assert get(serving, "/data.json", host=f"localhost:{serving.server_port}")[0] == 200


def test_another_user_of_the_machine_reads_nothing(serving):
    """Every user can reach a local port; the address that was printed is this user's alone."""
    token = base(serving).strip("/")
    assert len(token) >= 30
    for path in ("/", "/data.json", "//", f"/{token[:-1]}/", f"/x/{token}/", f"/{token.swapcase()}/data.json", "/*"):
        connection = http.client.HTTPConnection("127.0.0.1", serving.server_port, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (403, b"only by the address that prerlkit printed"), path


def test_a_request_of_another_user_writes_nothing_to_the_terminal(serving, capfd):
    """Before: an address whose brackets don't close left a traceback in the terminal of who watches."""
    for line in (
        "GET //[x",
        "GET http://[::1 ",
        "GET //a]b",
        "POST /x",
        "HEAD /",
        "GET",
        "\x1b]0;title\x07 / HTTP/1.1",
    ):
        with socket.create_connection(("127.0.0.1", serving.server_port), timeout=20) as wire:
            wire.sendall(f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        assert answer.startswith((b"HTTP/1.0 4", b"HTTP/1.0 5", b"<!DOCTYPE", b"only by")), line
        assert b"window" not in answer
    assert capfd.readouterr().err == ""


def test_a_connection_that_says_nothing_is_let_go(serving, monkeypatch):
    """Each holds a thread: another user could open them without end."""
    assert 0 < serving.RequestHandlerClass.timeout <= 60
    monkeypatch.setattr(serving.RequestHandlerClass, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", serving.server_port), timeout=20) as wire:
        wire.sendall(b"GET /")
        assert wire.recv(100) == b""


def test_a_run_that_is_damaged_in_an_odd_way_leaves_the_page_before(make_run):
    folder = make_run(done=3, reason=None)
    live = Live([folder])
    version, page = live.newest()
    (folder / "samples.jsonl").write_text('{"step": "x", "completions": 3}\n')
    assert live.newest() == (version, page)


def test_a_port_in_use_and_one_that_is_none_are_told(serving, make_run):
    folder = make_run("other", done=1)
    for port in (serving.server_port, 70_000):
        with pytest.raises(UsageError, match=f"Port {port} can't be used"):
            server([folder], port)


def test_a_file_that_is_being_damaged_leaves_the_page_before(make_run):
    folder = make_run(done=3, reason=None)
    live = Live([folder])
    version, page = live.newest()
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text("{")
    assert live.newest() == (version, page)
    (folder / "recipe.yaml").write_text(recipe + "\n")
    live._wait_until = 0.0
    assert live.newest()[0] != version


def test_ctrl_c_ends_it_cleanly(make_run):
    folder = make_run(done=2)
    command = [sys.executable, "-u", "-m", "prerlkit", "report", str(folder), "--watch"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "ended" in out
    assert "Traceback" not in err
    assert not (folder / "report.html").exists()
