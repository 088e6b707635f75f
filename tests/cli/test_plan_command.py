"""`prerlkit plan`, and the refusal of what cannot fit, by the real command line."""

from __future__ import annotations

import json


def test_the_command_says_which_phase_is_tightest_and_by_exit_code_whether_it_fits(invoke, recipe_file):
    path = recipe_file()
    done = invoke("plan", path, "--vram", "8GiB")
    assert done.returncode == 0, done.stderr
    for word in ("rollout", "log-probs", "backward", "optimizer", "load", "tightest", "fits"):
        assert word in done.stdout
    tight = invoke("plan", path, "--vram", "616MiB")
    assert tight.returncode == 1
    assert "does not fit" in tight.stdout
    assert invoke("plan", path, "--vram", "lots").returncode == 2
    assert invoke("plan", path, "--vram", "8", "--gpu", "rtx3090").returncode == 2


def test_a_dry_run_plans_for_a_card_that_is_not_here(invoke, recipe_file, tmp_path):
    path = recipe_file()
    done = invoke("run", path, "--dry-run", "--vram", "8GiB", "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "on a card with 8GiB" in done.stdout
    assert "on rtx3090" in invoke("run", path, "--dry-run", "--gpu", "rtx3090", "-o", tmp_path / "run").stdout
    refused = invoke("run", path, "--gpu", "rtx3090", "-o", tmp_path / "run")
    assert refused.returncode == 2
    assert "--dry-run" in refused.stderr


def test_a_run_that_cannot_fit_is_refused_before_loading_unless_forced(invoke, recipe_file, monkeypatch, tmp_path):
    monkeypatch.setattr("prerlkit.plan.device.free_host_memory", lambda: 2**20)
    path, folder = recipe_file(), tmp_path / "run"
    done = invoke("run", path, "-o", folder)
    assert done.returncode == 1
    assert "Nothing was loaded" in done.stderr
    assert "--force" in done.stderr
    assert not folder.exists()
    forced = invoke(
        "run", path, "-o", folder, "--force", "--set", "stages.warmup.steps=0", "--set", "stages.rl.steps=1"
    )
    assert forced.returncode == 0, forced.stderr
    assert json.loads((folder / "summary.json").read_text())["exit_reason"] == "completed"


def test_a_probe_runs_two_steps_a_stage_and_leaves_nothing(invoke, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "here"))
    (tmp_path / "here").mkdir()
    done = invoke("plan", recipe_file(), "--probe")
    assert done.returncode == 0, done.stderr
    for line in ("warmup   2/2", "rl   2/2", "warmup: ", "rl: ", "minutes for all steps and evaluations"):
        assert line in done.stdout
    assert not any("prerlkit-probe" in path.name for path in (tmp_path / "here").iterdir())
