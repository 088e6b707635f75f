"""Run folders from another person, with links, pipes and names that lead elsewhere: nothing there is changed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from prerlkit import files
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.rollout import leftovers
from prerlkit.runs import checksums, jsonl, lock
from prerlkit.runs.checkpoint import Checkpoint, Damaged
from prerlkit.runs.existing import check_folder
from prerlkit.runs.files import RunFiles
from prerlkit.runs.find import find_runs
from prerlkit.runs.writer import _begin


class _Hangs(BaseException):
    pass


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """What waits for a pipe, or reads a device without end, fails."""

    def stop(*arguments: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def mine(tmp_path) -> Path:
    """A file of the user's."""
    path = tmp_path / "bashrc"
    path.write_text("mine")
    return path


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("name: sent\nstages: []\n")
    (folder / "metrics.jsonl").write_text('{"step": 1, "stage": "rl"}\n')
    return folder


def put(kind: str, path: Path, mine: Path) -> None:
    match kind:
        case "link":
            path.symlink_to(mine)
        case "link to nothing":
            path.symlink_to(mine.with_name("new"))
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()


ODD = ("link", "link to nothing", "pipe", "folder")


@pytest.mark.parametrize("kind", ODD)
def test_a_lock_that_is_no_file_is_refused(kind, run, mine):
    """Before: the lock emptied what its link led to, and a report waited for a pipe for ever."""
    put(kind, run / lock.NAME, mine)
    assert lock.held(run) is False
    with pytest.raises(UsageError, match=r"\.lock can't be the lock of a run"), lock.locked(run):
        pass
    assert mine.read_text() == "mine"
    assert not mine.with_name("new").exists()


@pytest.mark.parametrize("kind", ODD)
def test_the_lock_of_an_engine_is_a_file(kind, tmp_path, mine):
    folder = tmp_path / "shared" / "engine-x"
    folder.mkdir(parents=True)
    put(kind, folder / ".lock", mine)
    leftovers.sweep(folder.parent)
    assert folder.is_dir()
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("kind", ODD)
def test_lines_are_not_appended_through_a_link_or_into_a_pipe(kind, run, mine):
    put(kind, run / "samples.jsonl", mine)
    with pytest.raises(OSError, match=r"it is a link|no regular file|No such device|directory"):
        jsonl.append_lines(run / "samples.jsonl", [{"step": 1}])
    assert mine.read_text() == "mine"
    assert not mine.with_name("new").exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "adapters", "adapters/rl", "checkpoints/step-000001"])
def test_a_run_with_links_is_not_resumed(name, run, tmp_path):
    """Before: with `adapters` a link to the home, a stage called Documents replaced the folder of that name."""
    home = tmp_path / "home"
    (home / "Documents").mkdir(parents=True)
    (run / name).unlink(missing_ok=True)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(home)
    with pytest.raises(UsageError, match=r"is a link\. A run doesn't write through links"):
        check_folder(RunFiles(run), "resume")


def test_a_copy_of_a_damaged_file_is_not_written_through_a_link(run, tmp_path, mine):
    """Before: lines that are no JSON were written to where `samples.jsonl.damaged-1` led, such as ~/.bash_profile."""
    profile = tmp_path / "bash_profile"
    (run / "samples.jsonl").write_text("evil\n")
    (run / "samples.jsonl.damaged-1").symlink_to(profile)
    told: list[str] = []
    _begin(RunFiles(run), 1, {}, told.append)
    assert not profile.exists()
    assert (run / "samples.jsonl.damaged-2").read_text() == "evil\n"
    assert "samples.jsonl.damaged-2" in told[0]


def test_leftovers_that_are_links_are_unlinked(run, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "x").touch()
    (run / ".a.1").symlink_to(tmp_path / "docs")
    files.remove_leftovers(run)
    assert (tmp_path / "docs" / "x").exists()
    assert not (run / ".a.1").is_symlink()


@pytest.mark.parametrize("name", ["/dev/zero", "recipe.yaml/../../../../../../dev/zero", "../bashrc"])
def test_checksums_of_files_elsewhere_are_not_computed(name, run, mine):
    (run / "checksums.json").write_text(json.dumps({"sha256": {name: "0"}}))
    with pytest.raises(PrerlkitError, match=r"checksums\.json names .*, which is not in the folder"):
        checksums.check(RunFiles(run), [run / "recipe.yaml"])
    folder = run / "checkpoints" / "step-000001"
    folder.mkdir(parents=True)
    (folder / "checksums.json").write_text(json.dumps({name: "0"}))
    with pytest.raises(Damaged, match="which is not in its folder"):
        Checkpoint.open(folder)


def test_a_pipe_or_a_device_has_no_checksum(run):
    os.mkfifo(run / "pipe")
    (run / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        (run / "checksums.json").write_text(json.dumps({"sha256": {name: "0"}}))
        with pytest.raises(PrerlkitError, match=f"{name} is missing"):
            checksums.check(RunFiles(run), [run / name])


@pytest.mark.parametrize("name", ["checksums.json", "state.json"])
def test_a_checkpoint_of_deep_json_is_damaged(name, tmp_path):
    state = "[" * 200_000
    (tmp_path / "state.json").write_text(state)
    (tmp_path / "checksums.json").write_text(
        state if name == "checksums.json" else json.dumps({"state.json": hashlib.sha256(state.encode()).hexdigest()})
    )
    with pytest.raises(Damaged, match="its JSON is not what was written"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("odd", [{"step": "1"}, {"step": -1}, {"stage": 0.5}, {"prompts": 10**30}, {"skipped": True}])
def test_a_position_that_is_none_is_damaged(odd, tmp_path):
    texts = {"optimizer.safetensors": "", "adapter.rl.safetensors": ""}
    texts["state.json"] = json.dumps({"position": odd, "stages": ["rl"], "origin": {}, "optimizer": {}})
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    (tmp_path / "checksums.json").write_text(json.dumps(sums))
    with pytest.raises(Damaged, match=f"position.{next(iter(odd))} is"):
        Checkpoint.open(tmp_path)


def test_folders_that_lead_to_themselves_are_looked_into_once(tmp_path):
    """Before: thirty links to their own folder were a million folders."""
    for number in range(30):
        (tmp_path / f"again-{number}").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="has none in it"):
        find_runs([tmp_path])
