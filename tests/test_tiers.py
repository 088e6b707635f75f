"""`pytest -m fast` is the inner loop: no run as a process, no network."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_every_place_of_the_inner_loop_exists(request):
    conftest = request.config.pluginmanager.get_plugin(str(HERE / "conftest.py"))
    assert len(conftest.FAST) > 20
    assert [place for place in conftest.FAST if not (HERE / place).exists()] == []
    assert conftest.is_fast(HERE / "objective" / "test_loss.py")
    assert not conftest.is_fast(HERE / "train" / "test_resume.py")


def test_a_fast_test_can_start_no_run():
    with pytest.raises(pytest.fail.Exception, match="a fast test starts"):
        subprocess.run([sys.executable, "-m", "prerlkit", "--help"], check=False)
    assert subprocess.run([sys.executable, "-c", "print(1)"], check=True, capture_output=True).stdout == b"1\n"


def test_a_fast_test_reaches_no_other_machine():
    with socket.socket() as elsewhere, pytest.raises(pytest.fail.Exception, match="a fast test connects to"):
        elsewhere.connect(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as here:
        socket.create_connection(here.getsockname()).close()
