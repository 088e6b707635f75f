"""A sweep goes through its points, goes on where it was, and survives its runs; once with real ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe.load import dump, load
from prerlkit.sweep import execute, grid, manifest
from prerlkit.sweep.execute import Sweep, last_words, slots

# Replaces `prerlkit run … --resume`: it writes the files of a run, and behaves as its fourth argument says.
CHILD = """
import json, os, pathlib, signal, sys, time
folder, recipe, seed, behave = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
begun = time.monotonic()  # before the file that the others wait for
folder.mkdir(parents=True, exist_ok=True)
(folder / "recipe.yaml").write_text(recipe)
with (folder / "started").open("a") as file:
    file.write(f"{os.environ.get('OMP_NUM_THREADS')} {begun}\\n")
print("threads", os.environ.get("OMP_NUM_THREADS"))
if seed in behave.get("fail", []):
    print("error the disk is full")
    sys.exit(1)
if seed in behave.get("die", []):
    os.kill(os.getpid(), signal.SIGKILL)
limit = time.monotonic() + 60
while len(list(folder.parent.glob("seed-*/started"))) < behave.get("together", 0) and time.monotonic() < limit:
    time.sleep(0.02)
end = time.monotonic() + behave.get("seconds", 0)
while time.monotonic() < end and not stop:
    time.sleep(0.02)
(folder / "summary.json").write_text(json.dumps({"exit_reason": "stopped" if stop else "completed"}))
with (folder / "started").open("a") as file:
    file.write(f"end {time.monotonic()}\\n")
"""


@pytest.fixture
def recipe(tiny_recipe, tmp_path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny_recipe()))
    return str(path)


@pytest.fixture
def sweep(recipe, tmp_path, monkeypatch):
    """A function that makes one call of a sweep over seeds with children that behave as told, and gives its entries."""

    def call(seeds=(0, 1, 2), jobs: int = 1, during=None, stop_on_failure: bool = False, settings=(), **behave):
        def command(point, folder):
            words = [str(folder), dump(point.recipe), str(point.recipe.seed), json.dumps(behave)]
            return [sys.executable, "-c", CHILD, *words]

        monkeypatch.setattr(execute, "command_of", command)
        entries = manifest.plan(grid.points([recipe], seeds, settings), tmp_path / "sweep")
        (tmp_path / "sweep").mkdir(exist_ok=True)
        one = Sweep(
            tmp_path / "sweep", [recipe], entries, slots(jobs, cpu_only=True), stop_on_failure=stop_on_failure,
            tick=(lambda: during(entries)) if during else (lambda: None),
        )  # fmt: skip
        one.run()
        return entries

    return call


def states(entries):
    return [entry.state for entry in entries]


def starts(folder: Path) -> int:
    return len([line for line in (folder / "started").read_text().splitlines() if not line.startswith("end")])


def test_the_same_command_again_skips_what_is_finished_and_takes_more_seeds(sweep, tmp_path):
    assert states(sweep(seeds=(0, 1))) == ["completed", "completed"]
    again = sweep(seeds=(0, 1, 2))
    assert states(again) == ["completed"] * 3
    assert [entry.before for entry in again] == [True, True, False]
    assert [starts(tmp_path / f"sweep/seed-{seed}") for seed in (0, 1, 2)] == [1, 1, 1]
    sweep(seeds=(2,))
    saved = json.loads((tmp_path / "sweep/sweep.json").read_text())
    assert sorted((line["folder"], line["state"]) for line in saved["points"]) == [
        (f"seed-{seed}", "completed") for seed in (0, 1, 2)
    ]


def test_a_failed_run_stops_no_other_and_is_tried_again(sweep, tmp_path):
    entries = sweep(fail=[0], die=[1])
    assert states(entries) == ["failed", "failed", "completed"]
    assert entries[0].error == "error the disk is full (exit code 1)"
    assert entries[1].error.endswith("(signal 9)")
    assert states(sweep()) == ["completed"] * 3
    assert starts(tmp_path / "sweep/seed-0") == 2
    assert starts(tmp_path / "sweep/seed-2") == 1


def test_stop_on_failure_starts_no_more(sweep):
    assert states(sweep(fail=[0], stop_on_failure=True)) == ["failed", "waiting", "waiting"]


def test_ctrl_c_lets_runs_save_and_the_command_goes_on(sweep, tmp_path):
    sent = []

    def interrupt(entries):
        if not sent and (tmp_path / "sweep/seed-0/started").is_file():
            sent.append(True)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.getsignal(signal.SIGINT)
    entries = sweep(seconds=30, during=interrupt)
    assert states(entries) == ["stopped", "waiting", "waiting"]
    assert signal.getsignal(signal.SIGINT) is before
    assert states(sweep()) == ["completed"] * 3
    assert starts(tmp_path / "sweep/seed-0") == 2


def test_jobs_run_at_once_with_a_share_of_the_cores_each(sweep, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert states(sweep(jobs=2, seeds=(0, 1), together=2)) == ["completed"] * 2
    lines = [(tmp_path / f"sweep/seed-{seed}/started").read_text().split() for seed in (0, 1)]
    assert [words[0] for words in lines] == ["4", "4"]
    first, second = ((float(words[1]), float(words[3])) for words in lines)
    assert max(first[0], second[0]) < min(first[1], second[1])  # both were there at the same time


def test_every_process_gets_a_device_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert slots(3, cpu_only=False) == [{"CUDA_VISIBLE_DEVICES": device} for device in ("2", "5", "2")]
    assert all("CUDA_VISIBLE_DEVICES" not in slot for slot in slots(2, cpu_only=True))
    assert slots(1, cpu_only=False) == [{}]


def test_a_recipe_that_changes_under_way_is_not_mixed_in(sweep, recipe, tiny_recipe):
    def edit(entries):
        if entries[0].state == "running":
            Path(recipe).write_text(json.dumps(tiny_recipe(description="another")))

    entries = sweep(seeds=(0, 1), seconds=1.0, during=edit)
    assert states(entries) == ["completed", "failed"]
    assert "was changed since the sweep began" in entries[1].error


def test_a_folder_of_something_else_is_refused(recipe, tiny_recipe, tmp_path):
    points = grid.points([recipe], (0,), ())
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not a sweep"):
        manifest.plan(points, tmp_path / "other")
    (tmp_path / "other/recipe.yaml").write_text("name: x")
    with pytest.raises(UsageError, match="is a run, not a sweep"):
        manifest.plan(points, tmp_path / "other")


def test_another_recipe_in_a_points_folder_is_refused_before_anything_starts(sweep, recipe, tiny_recipe):
    sweep(seeds=(0,))
    changed = tiny_recipe(adapter={"rank": 4, "alpha": 4})
    Path(recipe).write_text(json.dumps(changed))
    with pytest.raises(UsageError, match=r"(?s)seed-0 was started with another recipe.*adapter\.rank: 4"):
        sweep(seeds=(1, 0))


def test_more_steps_make_a_finished_run_go_on(sweep, recipe, tiny_recipe, tmp_path):
    sweep(seeds=(0,))
    longer = tiny_recipe()
    longer["stages"][1]["steps"] = 5
    Path(recipe).write_text(json.dumps(longer))
    (entry,) = sweep(seeds=(0,))
    assert entry.before is False
    assert any("steps 2 → 5" in change for change in entry.changes)
    assert starts(tmp_path / "sweep/seed-0") == 2


def test_a_run_that_outlived_its_sweep_is_waited_for(sweep, recipe, tmp_path):
    """The sweep was killed: its run goes on, holds its folder, and ends by itself."""
    folder = tmp_path / "sweep" / "seed-0"
    script = (
        "import json, sys, time; from pathlib import Path; from prerlkit.runs.lock import locked\n"
        "folder, recipe = Path(sys.argv[1]), sys.argv[2]\n"
        "with locked(folder):\n    (folder / 'recipe.yaml').write_text(recipe)\n    print('held', flush=True)\n"
        "    sys.stdin.read()\n    (folder / 'summary.json').write_text(json.dumps({'exit_reason': sys.argv[3]}))\n"
    )
    text = dump(load(recipe, ("seed=0",)).recipe)

    def orphan(reason):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder), text, reason],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "held\n"
        return process

    for reason, started in (("stopped", 1), ("completed", 1)):
        shutil.rmtree(tmp_path / "sweep", ignore_errors=True)
        process = orphan(reason)
        seen = []

        def during(entries, process=process, seen=seen):
            seen.append((entries[0].state, entries[0].error))
            if len(seen) == 2:
                process.communicate("")  # it comes to its end

        (tmp_path / "sweep" / "sweep.json").write_text("{}")
        (entry,) = sweep(seeds=(0,), during=during)
        assert seen[0] == ("running", "another process runs it; waiting for its end")
        assert entry.state == "completed"
        assert (folder / "started").exists() == (reason == "stopped"), started


def test_a_summary_of_a_shorter_plan_does_not_make_a_run_finished(sweep, recipe, tiny_recipe, tmp_path):
    """Extended, then killed: the old summary stayed, as earlier versions left it."""
    sweep(seeds=(0,))
    longer = tiny_recipe()
    longer["stages"][1]["steps"] = 5
    Path(recipe).write_text(json.dumps(longer))
    folder = tmp_path / "sweep/seed-0"
    (folder / "recipe.yaml").write_text(dump(load(recipe, ("seed=0",)).recipe))
    stages = [{"name": "warmup", "steps": 2, "planned": 2}, {"name": "rl", "steps": 2, "planned": 2}]
    (folder / "summary.json").write_text(json.dumps({"exit_reason": "completed", "steps": 4, "stages": stages}))
    (entry,) = manifest.plan(grid.points([recipe], (0,), ()), tmp_path / "sweep")
    assert (entry.state, entry.before) == ("waiting", False)


def test_last_words_hide_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abcdefgh")
    log = tmp_path / "log"
    log.write_text("step 1\nerror no access with hf_0123456789abcdefgh\nAsk for it.\n")
    assert last_words(log, 1) == "error no access with [hidden] Ask for it. (exit code 1)"
    log.write_text("")
    assert last_words(log, -9) == "it said nothing (signal 9)"


def test_real_runs_from_the_command_line_to_a_comparison(recipe, tmp_path, monkeypatch):
    """Two seeds of the tiny recipe, as processes; then the same command again, and compare."""
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    words = ["sweep", recipe, "--seeds", "0,1", "--set", "stages.rl.steps=1", "--set", "stages.warmup.steps=1"]
    done = CliRunner().invoke(app, [*words, "-j", "2"])
    assert done.exit_code == 0, done.output
    assert "2 of 2 completed" in done.output
    assert "prerlkit compare runs/tiny-sweep" in done.output
    folder = tmp_path / "runs/tiny-sweep"
    assert load(str(folder / "seed-1/recipe.yaml")).recipe.seed == 1
    before = {path: path.stat().st_mtime_ns for path in folder.glob("seed-*/*")}
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0
    assert "2 finished before" in again.output
    assert {path: path.stat().st_mtime_ns for path in folder.glob("seed-*/*")} == before
    compared = CliRunner().invoke(app, ["compare", str(folder), "--html", str(tmp_path / "page.html")])
    assert compared.exit_code == 0, compared.output
    assert "eval/accuracy" in compared.output
    assert "eval/accuracy" in (tmp_path / "page.html").read_text()
    plain = json.loads(CliRunner().invoke(app, ["compare", str(folder), "--json"]).output)
    assert [run["seed"] for run in plain["groups"][0]["runs"]] == [0, 1]
    assert plain["metrics"][0]["budgets"][0]["means"]["tiny"]["value"] >= 0


def test_a_copy_is_a_process_of_its_own_and_does_not_hold_the_lock_of_its_sweep(tmp_path):
    import time

    from prerlkit.runs import lock
    from prerlkit.sweep.forked import fork

    def run():
        print("here", os.environ["OMP_NUM_THREADS"], os.getsid(0) == os.getpid())
        print("to stderr", file=sys.stderr)
        (tmp_path / "begun").touch()
        deadline = time.monotonic() + 60
        while not (tmp_path / "end").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return 3

    log, threads = tmp_path / "log", os.environ.get("OMP_NUM_THREADS")
    with lock.locked(tmp_path / "sweep") as held:
        copy = fork(run, ["never", "started"], {"OMP_NUM_THREADS": "2"}, log, held)
        while not (tmp_path / "begun").exists() and copy.poll() is None:
            time.sleep(0.01)
        assert copy.poll() is None
    free = not lock.held(tmp_path / "sweep")
    (tmp_path / "end").touch()
    assert copy.wait() == 3
    assert free
    assert log.read_text() == "here 2 True\nto stderr\n"
    assert os.environ.get("OMP_NUM_THREADS") == threads


def test_a_copy_that_raises_or_is_killed_ends_as_a_process_does(tmp_path):
    from prerlkit.sweep.forked import fork

    def raises():
        raise ValueError("a bug")

    copy = fork(raises, ["never"], {}, tmp_path / "log")
    assert copy.wait() == 1
    assert "ValueError: a bug" in (tmp_path / "log").read_text()
    copy = fork(lambda: signal.alarm(60) or signal.pause() or 0, ["never"], {}, tmp_path / "log")
    copy.kill()
    assert copy.wait() == -signal.SIGKILL
