"""A run folder read back: finished, running, killed, torn."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.runs import lock
from prerlkit.runs.run import Run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: tiny\nseed: 3\n")
    lines = [json.dumps({"step": n, "stage": stage, "reward/mean": 0.5}) for n, stage in ((1, "a"), (2, "b"))]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 3, "sta')
    (tmp_path / "samples.jsonl").write_text('{"step": 1}\n{"st')
    return tmp_path


def test_a_killed_run_is_read_up_to_its_last_whole_line(folder):
    run = Run.open(folder)
    assert (run.name, run.seed, run.stages, run.state) == ("tiny", 3, ("a", "b"), "broken off")
    assert [step["step"] for step in run.steps] == [1, 2]
    assert list(run.samples()) == [{"step": 1}]


@pytest.mark.parametrize(
    ("reason", "state"), [("completed", "completed"), ("stopped", "stopped"), ("failed: OSError: full", "failed")]
)
def test_an_ended_run_says_how(folder, reason, state):
    (folder / "summary.json").write_text(json.dumps({"exit_reason": reason}))
    assert Run.open(folder).state == state


def test_a_run_that_goes_on_is_running_also_when_an_older_summary_lies_there(folder):
    (folder / "summary.json").write_text(json.dumps({"exit_reason": "stopped"}))
    with lock.locked(folder):
        assert Run.open(folder).state == "running"


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        Run.open(tmp_path)


def test_a_run_is_read_without_torch():
    """A report opens in a blink, and a sweep's display asks for many runs."""
    code = "import sys, prerlkit.runs.find, prerlkit.report.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_is_running_from_its_first_moment_and_broken_off_when_its_process_is_gone(folder):
    (folder / "summary.json").write_text(json.dumps({"exit_reason": "running"}))
    assert Run.open(folder).state == "broken off"
    with lock.locked(folder):
        assert Run.open(folder).state == "running"


def test_the_running_run_of_another_user_is_not_broken_off(folder, monkeypatch):
    """Its lock can't be opened; its summary says that it runs."""
    (folder / "summary.json").write_text(json.dumps({"exit_reason": "running"}))
    with lock.locked(folder):
        real = os.open

        def no_access(path, flags, *rest, **options):
            if str(path).endswith(lock.NAME) and (flags & os.O_RDWR or no_access.strict):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", no_access)
        for strict in (False, True):
            no_access.strict = strict
            assert Run.open(folder).state == "running"


def test_a_lock_that_is_asked_for_does_not_refuse_a_run(tmp_path):
    """`held` takes a shared lock for a moment, in which a run may begin."""
    (tmp_path / lock.NAME).touch()
    asking = os.open(tmp_path / lock.NAME, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, (asking,)).start()
    with lock.locked(tmp_path):
        assert lock.held(tmp_path)


@pytest.mark.parametrize("then", ["gone", "another's"])
def test_a_folder_that_was_deleted_is_noticed(tmp_path, then):
    folder = tmp_path / "run"
    with lock.locked(folder) as held:
        held.check()
        shutil.rmtree(folder)
        if then == "gone":
            with pytest.raises(PrerlkitError, match="was deleted, moved or replaced"):
                held.check()
        else:
            with lock.locked(folder), pytest.raises(PrerlkitError, match="was deleted, moved or replaced"):
                held.check()


def test_what_a_completed_run_lacks_is_named(folder):
    told = {"exit_reason": "completed", "steps": 3, "evaluations": [{"name": "after b", "step": 3}]}
    (folder / "summary.json").write_text(json.dumps(told))
    assert Run.open(folder).missing == ("metrics.jsonl has 2 of 3 steps", 'evaluations.jsonl lacks "after b"')
    (folder / "summary.json").write_text(json.dumps({**told, "exit_reason": "stopped"}))
    assert Run.open(folder).missing == ()
