"""Only the primary process's writer touches the run folder: every public method of it, by name, is tried in both."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.result import EvalResult
from prerlkit.recipe.model import Adapter
from prerlkit.runs import checkpoint
from prerlkit.runs.checkpoint import Position
from prerlkit.runs.jsonl import append_lines, read_lines
from prerlkit.runs.writer import RunWriter
from prerlkit.types import Completion, Group, Prompt, StepRecord, Verdict

RESULT = EvalResult("step 4", 4, 4, 1.0, Estimate(0.5, 0.1, 0.9))
GROUP = Group(Prompt("p", "1+1", (1,)), (Completion("2", (2,), (-0.5,), False),), (Verdict.of(True, ""),))
RECORD = StepRecord(4, "a", {"reward/mean": 1.0}, (GROUP,), {"alignment": {}})


class Tools:
    """What the methods are given."""

    def __init__(self, policy) -> None:
        policy.adapters.fresh("a", Adapter(rank=2), seed=1)
        self.adapters = policy.adapters
        self.optimizer = torch.optim.AdamW(policy.adapters.trainable)


def rescued(writer: RunWriter, tools: Tools) -> None:
    position = Position(step=5)
    save = partial(writer.save_checkpoint, position, tools.adapters, tools.optimizer)
    with pytest.raises(ZeroDivisionError), writer.rescue(position, save):
        raise ZeroDivisionError


def locked(writer: RunWriter, tools: Tools) -> None:
    with writer.locked():
        pass


WRITING = {
    "locked": locked,
    "create": lambda writer, tools: writer.create("resume"),
    "begin": lambda writer, tools: writer.begin(2, "tiny", 0, print),
    "write_recipe": lambda writer, tools: writer.write_recipe("name: other\n"),
    "write_environment": lambda writer, tools: writer.write_environment({}),
    "write_summary": lambda writer, tools: writer.write_summary({}),
    "append_step": lambda writer, tools: writer.append_step(RECORD, 1),
    "append_evaluation": lambda writer, tools: writer.append_evaluation(RESULT),
    "write_evaluation_part": lambda writer, tools: writer.write_evaluation_part({"step": 4}),
    "save_stage": lambda writer, tools: writer.save_stage(tools.adapters, "a", "base"),
    "save_policy": lambda writer, tools: writer.save_policy(tools.adapters, "base"),
    "save_checkpoint": lambda writer, tools: writer.save_checkpoint(Position(step=4), tools.adapters, tools.optimizer),
    "rescue": rescued,
}
READING = {
    "check": lambda writer, tools: writer.check("resume"),
    "evaluations": lambda writer, tools: writer.evaluations,
    "restore_evaluations": lambda writer, tools: writer.restore_evaluations([RESULT]),
    "best_step": lambda writer, tools: writer.best_step(),
    "read_evaluations": lambda writer, tools: writer.read_evaluations(),
    "read_evaluation_part": lambda writer, tools: writer.read_evaluation_part(),
    "read_history": lambda writer, tools: writer.read_history(),
    "newest_checkpoint": lambda writer, tools: writer.newest_checkpoint(print),
}


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every name below `folder` with its time and bytes; a file that was replaced by an equal one differs."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


@pytest.fixture
def tools(tiny_policy) -> Tools:
    return Tools(tiny_policy)


@pytest.fixture
def folder(tmp_path, tools) -> Path:
    """A run that was killed after its third step."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: tiny\n")
    (run / ".recipe.yaml.4242").touch()
    append_lines(run / "metrics.jsonl", [{"step": step, "stage": "a"} for step in (1, 2, 3)])
    checkpoint.save(run / "checkpoints" / "step-000002", Position(step=2), tools.adapters, tools.optimizer)
    return run


def test_every_public_method_is_tried_here():
    public = {name for name in vars(RunWriter) if not name.startswith("_")}
    assert public == {*WRITING, *READING}


@pytest.mark.parametrize("name", WRITING)
def test_a_method_writes_in_the_primary_process_and_in_no_other(folder, tools, name):
    before = content(folder.parent)
    WRITING[name](RunWriter(folder, primary=False), tools)
    assert content(folder.parent) == before
    WRITING[name](RunWriter(folder), tools)
    assert content(folder.parent) != before


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("primary", [True, False])
def test_what_reads_writes_nowhere(folder, tools, name, primary):
    before = content(folder.parent)
    READING[name](RunWriter(folder, primary=primary), tools)
    assert content(folder.parent) == before


def test_another_process_refuses_no_folder_and_makes_none(folder, tmp_path):
    with pytest.raises(UsageError, match="exists and is not empty"):
        RunWriter(folder).check("refuse")
    RunWriter(folder, primary=False).check("refuse")
    with RunWriter(tmp_path / "new", primary=False).locked():
        assert not (tmp_path / "new").exists()


def test_every_process_remembers_the_evaluations(tmp_path):
    for primary in (True, False):
        writer = RunWriter(tmp_path, primary=primary)
        writer.restore_evaluations([EvalResult("step 2", 2, 4, 1.0, Estimate(0.5, 0.1, 0.9))])
        writer.append_evaluation(RESULT)
        assert [result.step for result in writer.evaluations] == [2, 4]
        assert writer.best_step() == 2  # the first of equals
    assert [line["step"] for line in read_lines(tmp_path / "evaluations.jsonl")] == [4]


def test_a_hole_in_the_metrics_is_named(folder):
    (folder / "metrics.jsonl").write_text('{"step": 1, "stage": "a"}\n{"step": 3, "stage": "a"}\n')
    with pytest.raises(PrerlkitError, match="line 2 is not step 2"):
        RunWriter(folder).begin(3, "tiny", 0, print)


def test_a_hole_changes_nothing_and_a_completed_run_stays_one(folder):
    (folder / "summary.json").write_text('{"exit_reason": "completed"}')
    (folder / "metrics.jsonl").write_text('{"step": 1, "stage": "a"}\n{"step": 3, "stage": "a"}\n')
    before = content(folder)
    with pytest.raises(PrerlkitError, match="line 2 is not step 2"):
        RunWriter(folder).begin(3, "tiny", 0, print)
    assert content(folder) == before


def test_a_flipped_digit_in_the_metrics_is_named_and_nothing_is_lost(folder):
    (folder / "metrics.jsonl").unlink()
    append_lines(folder / "metrics.jsonl", [{"step": n, "stage": "a", "x": 0.5} for n in (1, 2, 3)], checked=True)
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(
        text.replace('"step": 2, "stage": "a", "x": 0.5', '"step": 2, "stage": "a", "x": 0.7')
    )
    before = content(folder)
    with pytest.raises(PrerlkitError, match="line 2 is not step 2"):
        RunWriter(folder).begin(3, "tiny", 0, print)
    assert content(folder) == before
    RunWriter(folder).begin(1, "tiny", 0, print)  # behind the checkpoint it may be forgotten, but is kept aside
    assert (folder / "metrics.jsonl.damaged-1").exists()


def test_a_folder_is_checked_again_under_its_lock(folder, tmp_path):
    """Another run came and finished while this one was loading."""
    place = tmp_path / "empty"
    writer = RunWriter(place)
    writer.check("refuse")
    place.mkdir()
    (place / "recipe.yaml").write_text("name: other\n")
    before = content(place)
    with writer.locked(), pytest.raises(UsageError, match="exists and is not empty"):
        writer.create("refuse")
    assert {k: v for k, v in content(place).items() if k != ".lock"} == before


def test_a_run_whose_folder_was_deleted_writes_nowhere(folder, tools):
    import shutil

    writer = RunWriter(folder)
    with writer.locked():
        shutil.rmtree(folder)
        for write in ("append_step", "append_evaluation", "save_checkpoint", "save_stage", "write_summary"):
            with pytest.raises(PrerlkitError, match="was deleted, moved or replaced"):
                WRITING[write](writer, tools)
    assert not folder.exists()


def test_an_overwriting_run_that_is_killed_leaves_no_completed_run_and_can_be_repeated(folder, monkeypatch):
    (folder / "summary.json").write_text('{"exit_reason": "completed"}')
    real = Path.unlink

    def killed(path, missing_ok=False):
        if path.name == "metrics.jsonl":
            raise KeyboardInterrupt
        real(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            RunWriter(folder).create("overwrite")
    assert not (folder / "summary.json").exists()
    RunWriter(folder).create("overwrite")
    assert list(folder.iterdir()) == []
