"""What the first start of an engine needs to compile."""

from __future__ import annotations

import shutil
import sysconfig

from prerlkit.rollout.toolchain import compile_problem


def test_a_missing_compiler_and_missing_headers_are_named_with_their_packages(monkeypatch, tmp_path):
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/gcc" if name == "gcc" else None)
    assert compile_problem() == ""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compile_problem().endswith("apt-get install gcc")
    (tmp_path / "Python.h").unlink()
    assert "a C compiler and Python's headers" in compile_problem()
    assert "-dev" in compile_problem()
