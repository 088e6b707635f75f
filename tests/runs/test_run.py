"""A run folder read back: finished, running, killed, torn."""

import json
import subprocess
import sys

import pytest

from prerlkit.errors import UsageError
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
