"""Whole runs on a tiny model: the run folder, each reincarnation, stop and resume, and what goes wrong on the way."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe
from prerlkit.train.callbacks import StopSignal
from prerlkit.train.run import Summary, run
from prerlkit.types import StepRecord

METRICS = {
    *("step", "stage", "reward/mean", "reward/pass_rate", "group/zero_signal", "sample/unjudged", "sample/truncated"),
    *("tokens/generated", "tokens/trained", "loss/total", "policy/entropy", "policy/kl", "policy/clip_fraction"),
    *("optim/lr", "optim/grad_norm", "time/rollout", "time/verify", "time/train", "time/step", "memory/peak"),
}


class Listener:
    """Keeps everything; asks to stop after a given step."""

    def __init__(self, stop: StopSignal, stop_after: int | None = None) -> None:
        self.notes: list[str] = []
        self.records: list[StepRecord] = []
        self._stop, self._stop_after = stop, stop_after

    def on_message(self, text: str) -> None:
        self.notes.append(text)

    def on_stage_begin(self, name: str, steps: int, done: int) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None:
        assert 0 <= done <= total  # loading begins and stays at 0 of 0, training rows begin at 0

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        self.records.append(record)
        if record.step == self._stop_after:
            self._stop.request()

    def on_evaluate(self, result) -> None: ...

    def on_stage_end(self, effect) -> None: ...


def go(recipe: dict, output: Path, *, stop_after: int | None = None, **options) -> tuple[Summary, Listener]:
    stop = StopSignal()
    listener = Listener(stop, stop_after)
    checked = Recipe.model_validate(recipe)
    return run(checked, output, recipe_folder=None, callback=listener, stop=stop, **options), listener


def lines(path: Path) -> list[dict]:
    """Objects of a jsonl file, without the check of a line, which covers its times."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "crc32"} for line in found]


def test_a_run_leaves_the_folder_that_is_promised(tiny_recipe, tmp_path):
    summary, listener = go(tiny_recipe(), tmp_path / "out")
    out = tmp_path / "out"
    assert summary.exit_reason == "completed"
    metrics = lines(out / "metrics.jsonl")
    assert [(m["step"], m["stage"]) for m in metrics] == [(1, "warmup"), (2, "warmup"), (3, "rl"), (4, "rl")]
    assert all(set(m) >= METRICS for m in metrics)
    assert sum(m["tokens/trained"] for m in metrics) > 0, "the tiny recipe gives no signal: its test shows nothing"
    samples = lines(out / "samples.jsonl")
    assert len(samples) == 8
    assert {"text", "score", "passed", "reason", "truncated"} <= set(samples[0]["completions"][0])
    environment = json.loads((out / "environment.json").read_text())
    assert environment["hardware"].keys() >= {"platform", "device", "cpu", "cpu_count", "torch_threads"}
    assert environment["start_token"]["text"] == "<turn>"
    assert environment["versions"]["torch"] == torch.__version__
    saved = json.loads((out / "summary.json").read_text())
    assert saved["exit_reason"] == "completed"
    assert [e["name"] for e in saved["evaluations"]] == ["before", "after warmup", "after rl"]
    assert saved["tokens"]["generated"] == sum(m["tokens/generated"] for m in metrics)
    assert load(str(out / "recipe.yaml")).recipe == Recipe.model_validate(tiny_recipe())
    assert "start token of P(y): '<turn>' (id 257, chat template)" in listener.notes


@pytest.mark.parametrize("reincarnation", ["stack", "merge", "continue"])
def test_the_adapter_of_all_stages_is_the_policy_that_was_trained(tiny_recipe, tiny_model, tmp_path, reincarnation):
    recipe = tiny_recipe()
    recipe["stages"][1]["reincarnation"] = reincarnation
    from prerlkit.policy import policy as policy_module
    from prerlkit.train import load as load_module

    kept = []
    real = policy_module.load_policy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_module, "load_policy", lambda *a, **k: kept.append(real(*a, **k)) or kept[-1])
        go(recipe, tmp_path / "out")
    tokens = torch.tensor([list(b"What is 3 + 4?")])
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        untrained = base(input_ids=tokens).logits
        loaded = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")(input_ids=tokens).logits
        live = kept[0].base(input_ids=tokens).logits
    torch.testing.assert_close(loaded, live, atol=1e-4, rtol=0)
    assert (live - untrained).abs().max() > 0.01  # and it is not the base


@pytest.mark.parametrize("stop_after", [1, 2, 3])
@pytest.mark.parametrize("reincarnation", ["stack", "merge", "continue"])
def test_stop_and_resume_equals_a_straight_run_bit_for_bit(tiny_recipe, tmp_path, stop_after, reincarnation):
    recipe = tiny_recipe()
    recipe["stages"][1]["reincarnation"] = reincarnation
    if reincarnation == "continue":
        recipe["stages"][1]["keep_optimizer"] = True
    straight, whole = tmp_path / "straight", tmp_path / "parts"
    go(recipe, straight)
    summary, _ = go(recipe, whole, stop_after=stop_after)
    assert summary.exit_reason == "stopped"
    summary, _ = go(recipe, whole, existing="resume")
    assert summary.exit_reason == "completed"
    weights = "adapter/adapter_model.safetensors"
    assert (whole / weights).read_bytes() == (straight / weights).read_bytes()
    for file in ("metrics.jsonl", "evaluations.jsonl"):
        assert [untimed(x) for x in lines(whole / file)] == [untimed(x) for x in lines(straight / file)]
    assert (whole / "samples.jsonl").read_bytes() == (straight / "samples.jsonl").read_bytes()


def untimed(line: dict) -> dict:
    return {k: v for k, v in line.items() if not k.startswith(("time/", "memory/")) and k != "seconds"}


def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not(tiny_recipe, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        go(tiny_recipe(seed=seed), tmp_path / name)
    a, b, c = (load_file(tmp_path / n / "adapter" / "adapter_model.safetensors") for n in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_several_updates_from_one_rollout_batch_move_away_from_the_sampler(tiny_recipe, tmp_path):
    recipe = tiny_recipe(optimizer={"updates_per_rollout": 2})
    recipe["stages"] = [{"name": "rl", "objective": "grpo", "steps": 3, "learning_rate": 0.2}]
    go(recipe, tmp_path / "out")
    assert any(m["policy/clip_fraction"] > 0 for m in lines(tmp_path / "out" / "metrics.jsonl"))


def test_kl_and_entropy_are_taken_and_recorded(tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    recipe["stages"][1]["objective"] = {"preset": "grpo", "kl": {"coefficient": 0.1}, "entropy": 0.01}
    recipe["stages"][1]["steps"] = 3
    go(recipe, tmp_path / "out")
    metrics = lines(tmp_path / "out" / "metrics.jsonl")
    assert metrics[2]["policy/kl"] == pytest.approx(0.0, abs=1e-6)  # a fresh adapter is the reference itself
    assert metrics[-1]["policy/kl"] > 1e-6


def test_a_hybrid_stage_runs(tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    recipe["stages"] = [
        {
            "name": "both",
            "objective": ["grpo", {"preset": "nsr-prerl", "coefficient": 0.5}],
            "steps": 2,
            "learning_rate": 0.01,
        }
    ]
    summary, _ = go(recipe, tmp_path / "out")
    assert summary.exit_reason == "completed"


def test_a_step_without_gradient_is_counted_and_changes_nothing(tiny_recipe, tmp_path):
    """Every answer passes: no group has signal, and no sample is negative."""
    summary, listener = go(tiny_recipe(verifiers=[{"name": "regex", "settings": {"must_match": [""]}}]), tmp_path / "o")
    assert summary.position.skipped == 4
    assert all(r.metrics["group/zero_signal"] == 1.0 and r.metrics["optim/skipped"] == 1 for r in listener.records)
    tensors = load_file(tmp_path / "o" / "adapter" / "adapter_model.safetensors")
    assert all(t.abs().max() == 0 for k, t in tensors.items() if "lora_B" in k)


def test_unjudged_samples_are_counted_and_never_trained_on(tiny_recipe, tmp_path):
    plugin = tmp_path / "verifiers" / "half.py"
    plugin.parent.mkdir()
    plugin.write_text(
        "from prerlkit.verify import Verdict, Verifier\n"
        "class Half(Verifier):\n"
        "    name = 'half'\n"
        "    def judge(self, sample):\n"
        "        if sum(map(ord, sample.completion)) % 2:\n"
        "            raise RuntimeError('no idea')\n"
        "        return Verdict.of(len(sample.completion) > 3)\n"
    )
    recipe = Recipe.model_validate(tiny_recipe(verifiers=[{"name": "half"}]))
    listener = Listener(StopSignal())
    run(recipe, tmp_path / "out", recipe_folder=tmp_path, callback=listener, stop=StopSignal())
    shares = [r.metrics["sample/unjudged"] for r in listener.records]
    assert 0 < sum(shares) / len(shares) < 1
    for record in listener.records:
        for group in record.groups:
            assert all((v.score is None) == ("no idea" in v.reason) for v in group.verdicts)


def test_an_occupied_folder_is_refused_unless_said_otherwise(tiny_recipe, tmp_path):
    go(tiny_recipe(), tmp_path / "out")
    with pytest.raises(UsageError, match="exists and is not empty") as error:
        go(tiny_recipe(), tmp_path / "out")
    assert "--overwrite" in error.value.hint
    summary, _ = go(tiny_recipe(), tmp_path / "out", existing="overwrite")
    assert summary.exit_reason == "completed"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(UsageError, match="does not look like a run"):
        go(tiny_recipe(), tmp_path / "photos", existing="overwrite")
    assert (tmp_path / "photos" / "cat.jpg").exists()
    with pytest.raises(UsageError, match="not a run"):
        go(tiny_recipe(), tmp_path / "photos", existing="resume")


def test_a_failure_leaves_its_reason_and_the_metrics_so_far(tiny_recipe, tmp_path, monkeypatch):
    from prerlkit.train import step_data

    real, calls = step_data.sample_and_judge, []

    def fail_at_the_fourth_step(engine, judge, prompts, sampling, *others):
        calls.extend([1] if sampling.temperature else [])  # evaluations are greedy
        if len(calls) == 4:
            raise PrerlkitError("the engine died")
        return real(engine, judge, prompts, sampling, *others)

    monkeypatch.setattr(step_data, "sample_and_judge", fail_at_the_fourth_step)
    with pytest.raises(PrerlkitError, match="the engine died"):
        go(tiny_recipe(), tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["exit_reason"] == "failed: PrerlkitError: the engine died"
    assert len(lines(tmp_path / "out" / "metrics.jsonl")) == 3


def test_nothing_is_left_behind_by_what_is_wrong_before_the_start(tiny_recipe, tmp_path):
    wrong = tiny_recipe()
    wrong["rollout"]["max_prompt_tokens"] = 3
    with pytest.raises(UsageError, match="are longer than"):
        go(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_of_several_verifiers_has_a_metric_of_its_own(tiny_recipe, tmp_path):
    verifiers = [
        {"name": "regex", "settings": {"must_match": ["[0-9A-Z]"]}},
        {"name": "length", "gate": True, "settings": {"max_tokens": 3}},
    ]
    output = {"samples_per_step": 100}
    go(tiny_recipe(verifiers=verifiers, output=output), tmp_path / "out")
    samples = lines(tmp_path / "out" / "samples.jsonl")
    for step in lines(tmp_path / "out" / "metrics.jsonl"):
        judged = [c for s in samples if s["step"] == step["step"] for c in s["completions"]]
        assert len(judged) == 8
        for name in ("regex", "length"):
            own = [c["details"][name]["score"] for c in judged]
            assert step[f"reward/{name}"] == pytest.approx(sum(own) / 8)
        # Cut at three tokens, a completion fails `length`, and the gate takes the whole score.
        assert all(c["score"] == 0 for c in judged if c["truncated"])
        assert step["reward/mean"] == pytest.approx(sum(c["score"] for c in judged) / 8)


FAULTY = """
import hashlib, os, time
from prerlkit.verify import Verdict, Verifier

class Faulty(Verifier):
    name = "faulty"
    def judge(self, sample):
        draw = hashlib.sha256(sample.completion.encode("utf-8", "surrogatepass")).digest()[0] % 20
        if draw == 0:
            time.sleep(60)
        if draw == 1:
            os._exit(1)
        return Verdict.of(draw % 2 == 0)
"""


def test_a_verifier_that_hangs_and_crashes_leaves_counts_and_baseline_right(tiny_recipe, tmp_path):
    """About 5 % of the samples each, drawn by the text: they leave their groups, and nothing else changes."""
    import hashlib

    from prerlkit.objective.advantage import advantages
    from prerlkit.objective.choices import GroupMean
    from prerlkit.types import Verdict

    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "faulty.py").write_text(FAULTY)
    recipe = tiny_recipe(
        verifiers=[{"name": "faulty", "timeout": 0.3}],
        rollout={"group_size": 16, "prompts_per_step": 4, "max_prompt_tokens": 200, "max_new_tokens": 3},
        evaluation={"prompts": 4, "when": []},
    )
    stop = StopSignal()
    listener = Listener(stop)
    checked = Recipe.model_validate(recipe)
    summary = run(checked, tmp_path / "out", recipe_folder=tmp_path, callback=listener, stop=stop)
    assert summary.exit_reason == "completed"
    hung = crashed = 0
    for record in listener.records:
        unjudged = 0
        for group in record.groups:
            draws = [
                hashlib.sha256(c.text.encode("utf-8", "surrogatepass")).digest()[0] % 20 for c in group.completions
            ]
            for draw, verdict in zip(draws, group.verdicts, strict=True):
                assert verdict.passed == (None if draw < 2 else draw % 2 == 0), verdict.reason
                assert ("ran longer" in verdict.reason, "crashed" in verdict.reason) == (draw == 0, draw == 1)
            unjudged += sum(draw < 2 for draw in draws)
            hung += draws.count(0)
            crashed += draws.count(1)
            scores = [float(draw % 2 == 0) for draw in draws if draw >= 2]
            mean = sum(scores) / len(scores)
            centred = [x for x in advantages(group.verdicts, GroupMean(kind="group_mean")) if x is not None]
            assert centred == pytest.approx([score - mean for score in scores])
            faultless = [Verdict.of(bool(score)) for score in scores]
            assert list(advantages(faultless, GroupMean(kind="group_mean"))) == pytest.approx(centred)
        assert record.metrics["sample/unjudged"] == pytest.approx(unjudged / 64)
    assert min(hung, crashed) >= 3, "the tiny model's texts drew too few faults: this test shows nothing"


def test_completions_beyond_the_models_positions_are_warned_of_before_the_run(go, tiny_recipe, tmp_path):
    """The tiny model has 512."""
    recipe = tiny_recipe(evaluation={"prompts": 4, "when": [], "max_new_tokens": 500})
    recipe["stages"] = [{"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-2}]
    _, callback = go(recipe, tmp_path / "out")
    said = [note for note in callback.notes if "exceed the model's context of 512" in note]
    assert len(said) == 1
    assert said[0].startswith("data.eval, evaluation: the longest prompt (")


def test_verification_overlaps_sampling(go, lines, tiny_recipe, tmp_path, monkeypatch):
    """Completions of different lengths end at different times: the first is judged before the last is sampled."""
    from prerlkit.rollout.hf import HfEngine

    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "marking.py").write_text(
        "from pathlib import Path\nfrom prerlkit.verify import Verdict, Verifier\nclass Marking(Verifier):\n"
        "    name = 'marking'\n    needs_answer = False\n    def judge(self, sample):\n"
        f"        Path({str(tmp_path)!r}, f'judged-{{sample.tokens}}').touch()\n        return Verdict.of(True)\n"
    )
    real, waited = HfEngine.generate, []

    def waiting(self, prompts, sampling):
        for number, (i, s, completion) in enumerate(real(self, prompts, sampling)):
            yield i, s, completion
            if number == 0:  # asked for the next one: the first has to be judged meanwhile
                first = tmp_path / f"judged-{len(completion.token_ids)}"
                deadline = time.monotonic() + 30
                while not first.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                waited.append(first.exists())

    monkeypatch.setattr(HfEngine, "generate", waiting)
    recipe = tiny_recipe(evaluation={"when": []}, verifiers=[{"name": "marking"}])
    recipe["stages"] = [{"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-2}]
    go(recipe, tmp_path / "out", recipe_folder=tmp_path)
    assert waited == [True]
    assert (tmp_path / "out/adapters/rl/adapter_config.json").is_file()


def test_the_configuration_of_an_adapter_lists_its_modules_in_order(go, tiny_recipe, tmp_path):
    """PEFT keeps them as a set, whose order differs from process to process."""
    recipe = tiny_recipe(evaluation={"when": []})
    go(recipe, tmp_path / "out")
    for place in ("adapter", "adapters/rl", "adapters/warmup"):
        modules = json.loads((tmp_path / "out" / place / "adapter_config.json").read_text())["target_modules"]
        assert modules == sorted(modules)
        assert len(modules) > 2
