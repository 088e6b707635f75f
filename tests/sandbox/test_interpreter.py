"""The copy of an interpreter that root's guests can't reach: made once, and other users can't block or exchange it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from prerlkit.errors import PrerlkitError
from prerlkit.sandbox import Limits, interpreter, layers, run
from prerlkit.sandbox.host import bwrap, tried

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its guests to other users")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder as /tmp is."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def test_a_python_under_a_private_home_is_copied_once(tmp_path, monkeypatch) -> None:
    if why := tried("landlock"):
        pytest.skip(why)
    monkeypatch.setattr(interpreter, "_open_to_all", lambda path, reachable: False)
    monkeypatch.setattr(interpreter, "_public_folder", lambda: Path("/var/tmp"))
    monkeypatch.setattr(interpreter.hashlib, "sha256", lambda data: type("H", (), {"hexdigest": lambda _: "0" * 64})())
    monkeypatch.setattr(layers, "_interpreter", lambda root, reachable: interpreter.for_everyone(reachable))
    copy = Path(interpreter.for_everyone(True).executable).parents[1]
    try:
        assert copy.parent == Path("/var/tmp")
        assert all(path.lstat().st_uid == 0 for path in copy.rglob("*"))
        assert all(not path.lstat().st_mode & 0o022 for path in copy.rglob("*") if not path.is_symlink())
        made = copy.stat().st_ino
        for name in ("landlock", "bubblewrap"):
            if not tried(name):
                source = "import sys, json, decimal, asyncio, os; print(sys.prefix, os.environ)"
                ran = run(name, source, b"", Limits(), 10.0, bwrap())
                assert ran.stdout.decode() == f"{copy} environ({{}})\n", ran.stderr
        assert copy.stat().st_ino == made
    finally:
        shutil.rmtree(copy)


@pytest.mark.parametrize("taken", ["folder", "empty folder", "file", "link to root's"])
def test_another_user_who_has_the_copys_name_is_in_nobodys_way(taken, public, monkeypatch) -> None:
    monkeypatch.setattr(interpreter, "_public_folder", lambda: public)
    monkeypatch.setattr(interpreter.shutil, "copytree", lambda source, to, ignore: to.mkdir(parents=True))
    made = interpreter._copy(interpreter.base())
    copy = Path(made.executable).parents[1]
    shutil.rmtree(copy)
    theirs = {"file": copy, "link to root's": copy}.get(taken, copy / "bin")
    if taken.startswith("link"):
        copy.symlink_to("/usr")
    elif taken == "file":
        copy.write_text("")
    else:
        copy.mkdir()
        (copy / "bin").mkdir() if taken == "folder" else None
    for path in (copy, theirs):
        if path.exists():
            os.chown(path, 65534, 65534, follow_symlinks=False)
    own = Path(interpreter._copy(interpreter.base()).executable).parents[1]
    assert interpreter._ours(own)
    assert (own == copy) is (taken == "empty folder")  # root may replace it
    assert own.name.startswith(copy.name)
    monkeypatch.setattr(interpreter.shutil, "copytree", None)  # the next worker copies nothing
    assert Path(interpreter._copy(interpreter.base()).executable).parents[1] == own
    assert {path.name for path in public.iterdir()} == {copy.name, own.name}


def test_two_workers_at_once_keep_one_copy(tmp_path, monkeypatch) -> None:
    """Also where another user has the name: the second to be ready finds the first one's copy."""
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "file").touch()
    os.chown(tmp_path / "name", 65534, 65534)
    found = interpreter.base()

    def slow(source, to, ignore) -> None:
        to.mkdir(parents=True)
        monkeypatch.setattr(interpreter.shutil, "copytree", lambda source, to, ignore: to.mkdir(parents=True))
        first.append(interpreter._make(tmp_path, "name", found))

    first: list[Path] = []
    monkeypatch.setattr(interpreter.shutil, "copytree", slow)
    assert interpreter._make(tmp_path, "name", found) == first[0]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_whose_owner_could_exchange_the_copy_is_not_used(public, monkeypatch) -> None:
    """`sudo -E` keeps TMPDIR of the user who calls it."""
    for mode, owner, used in ((0o1777, 0, True), (0o777, 0, False), (0o1777, 65534, False), (0o700, 0, False)):
        public.chmod(mode)
        os.chown(public, owner, owner)
        monkeypatch.setattr(interpreter.tempfile, "gettempdir", lambda: str(public))
        assert (interpreter._public_folder() == public) is used, oct(mode)
    monkeypatch.setattr(interpreter, "_keeps", lambda folder: False)
    with pytest.raises(PrerlkitError, match="no folder for a copy of Python"):
        interpreter._public_folder()


def test_a_folder_that_others_can_change_is_not_taken_for_the_copy(tmp_path) -> None:
    assert interpreter._ours(tmp_path)
    tmp_path.chmod(0o777)
    assert not interpreter._ours(tmp_path)
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 65534, 65534)
    assert not interpreter._ours(tmp_path)
    (tmp_path / "link").symlink_to("/usr")
    assert not interpreter._ours(tmp_path / "link")
