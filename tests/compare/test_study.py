"""`python -m benchmarks.study`: what it would run, and its tables from runs made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
THOUGHTS = ("transition", "reflection", "verification", "decomposition")


def study(*arguments):
    """Its output; benchmarks are no part of the package, so a process in the checkout."""
    command = [sys.executable, "-m", "benchmarks.study", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def rows(text):
    """Markdown rows by their first cell; of equal ones all, in order."""
    found = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(first, []).append(cells)
    return found


def test_every_part_is_a_list_of_whole_recipes_with_equal_effort_and_steps(tmp_path):
    listed = study("plan", "tuning", "objectives", "warmup", "details", "--task", "sums", "--folder", tmp_path)
    assert listed.returncode == 0, listed.stderr
    runs = [line for line in listed.stdout.splitlines() if "waiting" in line]
    assert sum(" grpo-" in line for line in runs) == sum(" dsrl-" in line for line in runs) == 6
    assert len(runs) == 12 + 3 * (4 + 3 + 3)
    assert all("0/30" in line for line in runs)
    assert list(tmp_path.iterdir()) == []


def test_a_part_waits_for_the_learning_rates_and_a_wrong_part_is_said(tmp_path):
    early = study("run", "main", "--task", "sums", "--folder", tmp_path)
    assert early.returncode == 1
    assert "python -m benchmarks.study run tuning" in " ".join(early.stdout.split())
    assert "there is no part mian" in study("run", "mian").stderr


def test_recorded_runs_are_finished_ones_whatever_this_machine_computes_in(tmp_path):
    common = ("tuning", "--task", "sums", "--folder", tmp_path)
    assert study("unpack", *common).returncode == 0
    listed = study("plan", *common, "--set", "health.window=10")
    assert "12 of 12 completed" in listed.stdout, listed.stdout  # they were run in bfloat16
    other = study("plan", *common, "--set", "model.dtype=float16")
    assert other.returncode == 1
    assert "model.dtype" in other.stdout


@pytest.fixture
def finished(make_run):
    """Two seeds of both arms of `main`; DSRL with probes."""
    for seed, grpo, dsrl in ((0, 0.5, 0.7), (1, 0.6, 0.9)):
        for arm, after in (("grpo", grpo), ("dsrl", dsrl)):
            thoughts = {f"probe/thoughts/{kind}_per_1k": 2.0 for kind in THOUGHTS}
            path = make_run(
                f"main-sums/{arm}/seed-{seed}",
                name=arm,
                seed=seed,
                evaluations=((0, 0.2, {}), (4, after, {})),
                extra={"probe/alignment": 0.25, **thoughts} if arm == "dsrl" else None,
            )
            if arm == "dsrl":
                layers = {f"model.layers.{n}": (n + seed) / 10 for n in range(6)} | {"lm_head": 1.0}
                lines = [{"step": step, "stage": "rl", "alignment": {"by_layer": {"all": layers}}} for step in (1, 4)]
                (path / "probes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_tables_hold_what_a_hand_works_out(finished, tmp_path):
    shown = study("tables", "main", "--task", "sums", "--folder", tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "4 of 10 runs finished" in shown.stdout
    found = rows(shown.stdout)
    assert found["grpo"][0][2].startswith("55.0 %")
    assert found["dsrl"][0][:2] == ["2", "20.0 % [20.0, 20.0]"]
    assert found["dsrl"][0][2].startswith("80.0 %")
    assert found["dsrl − grpo"][0][0].startswith("+25.0 points")  # mean of +20 and +30
    assert found["dsrl"][-3] == ["rl, first", "0.25", "0.25", "0.55"]  # layers 0 to 4 of both seeds, then 5
    assert found["dsrl"][-1] == ["2.00 → 2.00"] * 4
    assert found["grpo"][-1] == ["– → –"] * 4


def test_every_arm_is_compared_over_all_pairs_of_task_and_seed(finished, make_run, tmp_path):
    evaluations = ((0, 0.2, {}), (4, 0.6, {}))
    make_run("objectives-sums/prerl/seed-0", name="prerl", seed=0, evaluations=evaluations)
    make_run("main-reason/grpo/seed-0", name="grpo", seed=0, evaluations=evaluations)
    ends = ((0, 0.2, {}), (2, 0.3, {}), (4, 0.4, {}))
    path = make_run("objectives-reason/prerl/seed-0", name="prerl", seed=0, evaluations=ends)
    lines = [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]
    lines[1]["name"] = "after warmup"
    (path / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = rows(study("overall", "--folder", tmp_path).stdout)
    nothing = study("overall", "--folder", tmp_path / "nothing")
    assert nothing.returncode == 1
    assert "study unpack" in nothing.stdout
    assert "no PART" in study("overall", "main").stderr
    assert found["grpo"][0][:2] == ["3", "–"]
    assert found["dsrl"][0][1].startswith("+25.0 points")
    assert found["prerl"][0][0] == "2"
    assert found["prerl"][0][1].startswith("-5.0 points")  # +10 on the sums, −20 on the other task
    assert found["prerl"][0][2:] == ["-10.0 points", "+10.0 points"]  # sums alone; and what that warm-up changed


def test_an_ablation_is_compared_on_its_own_seeds_and_shows_only_probes_that_it_had(finished, make_run, tmp_path):
    thoughts = {f"probe/thoughts/{kind}_per_1k": 3.0 for kind in THOUGHTS}
    ends = ((0, 0.2, {}), (4, 0.8, {}))
    make_run("warmup-sums/warmup-10/seed-1", name="warmup-10", seed=1, evaluations=ends, extra=thoughts)
    shown = study("tables", "warmup", "--task", "sums", "--folder", tmp_path)
    assert shown.returncode == 0, shown.stderr
    found = rows(shown.stdout)
    assert [found[arm][0][0] for arm in ("grpo", "dsrl", "warmup-10")] == ["1"] * 3
    assert found["dsrl"][0][2].startswith("90.0 %")  # of seed 1 alone
    assert "Alignment" not in shown.stdout
    assert found["warmup-10"][-1] == ["3.00 → 3.00"] * 4


def test_arms_of_two_machines_are_not_compared_at_equal_time(finished, make_run, tmp_path):
    other = make_run("warmup-sums/warmup-10/seed-1", name="warmup-10", seed=1, evaluations=((0, 0.2, {}), (4, 0.8, {})))
    same = study("tables", "warmup", "--task", "sums", "--folder", tmp_path).stdout
    assert [len(found) for found in rows(same)["dsrl − grpo"]] == [3]  # equal steps, tokens and time
    (other / "environment.json").write_text(json.dumps({"hardware": {"platform": "another", "device": "cpu"}}))
    apart = study("tables", "warmup", "--task", "sums", "--folder", tmp_path).stdout
    assert [len(found) for found in rows(apart)["dsrl − grpo"]] == [2]
    assert "grpo, dsrl; warmup-10" in apart


def test_what_runs_recorded_is_kept_and_laid_out_again_without_places_of_the_machine(finished, tmp_path):
    places = {"recipe_folder": "/home/me", "model": {"origin": "a.gguf of a wheel, as float32 in /home/me/cache"}}
    (tmp_path / "main-sums/grpo/seed-0/environment.json").write_text(json.dumps(places))
    records, again = tmp_path / "records", tmp_path / "again"
    common = ("main", "--task", "sums", "--records", records)
    for _ in range(2):
        packed = study("pack", *common, "--folder", tmp_path)
        assert "main-sums.tar.xz" in packed.stdout.replace("\n", ""), packed.stderr
    mine = again / "main-sums/dsrl/seed-1"
    mine.mkdir(parents=True)  # a run that has begun here stays
    assert study("unpack", *common, "--folder", again).returncode == 0
    assert list(mine.iterdir()) == []
    environment = (again / "main-sums/grpo/seed-0/environment.json").read_text()
    assert json.loads(environment) == {"model": {"origin": "a.gguf of a wheel, as float32"}}
    mine.rmdir()
    study("unpack", *common, "--folder", again)
    tables = [study("tables", "main", "--task", "sums", "--folder", folder).stdout for folder in (tmp_path, again)]
    assert tables[0] == tables[1]
    assert "4 of 10" in tables[0]
