"""A system on which nothing could work gets one sentence, and macOS's refusal of a memory limit costs no run."""

from __future__ import annotations

import resource
import sys

import pytest

import prerlkit.cli
from prerlkit import host_memory
from prerlkit.cli.system import refusal
from prerlkit.verify.pool import worker


def test_windows_and_an_old_python_on_macos_are_refused_with_what_to_do():
    assert "WSL 2" in refusal("win32", (3, 13))
    assert "Python 3.13" in refusal("darwin", (3, 12))
    assert refusal("linux", (3, 11)) == refusal("darwin", (3, 13)) == ""


def test_the_command_ends_with_it_before_it_imports_what_windows_lacks(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        prerlkit.cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error prerlkit needs Linux or macOS")


def _refuse(which, limits):
    if which == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")


def test_a_limit_of_memory_that_macos_refuses_is_done_without(monkeypatch):
    monkeypatch.setattr(resource, "setrlimit", _refuse)
    monkeypatch.setattr(sys, "platform", "darwin")
    worker.limit_memory(2**32)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ValueError, match="maximum limit"):
        worker.limit_memory(2**32)


def test_free_memory_is_known_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(host_memory, "_read", lambda path: "")
    assert 0 < host_memory.free_host_memory() < 2**50
