"""Targets of every kind on tiny models: figures, resume, comparisons, and what is said when something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

import prerlkit
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.evaluation.harness import evaluate as harness
from prerlkit.evaluation.harness.presets import PRESETS
from prerlkit.evaluation.harness.targets import find

FAST = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "sums.jsonl"
    path.write_text("".join(json.dumps({"question": f"{i} + 1", "answer": str(i + 1)}) + "\n" for i in range(6)))
    return path


@pytest.fixture(scope="module")
def run_folder(tiny_model, tmp_path_factory) -> Path:
    """A finished run of two stages on the tiny model."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    prerlkit.run(_recipe(tiny_model), folder)
    return folder


def _recipe(model: Path) -> dict:
    return {
        "name": "tiny",
        "model": {"id": str(model), **FAST},
        "adapter": {"rank": 2, "alpha": 64},
        "data": {
            "train": {"kind": "generator", "name": "arithmetic", "rows": 20, "settings": {"low": 0, "high": 9}},
            "eval": {"kind": "held_out", "rows": 8},
        },
        "verifiers": [{"name": "regex", "settings": {"must_match": ["[0-9A-Z]"]}}],
        "rollout": {"group_size": 4, "prompts_per_step": 4, "max_prompt_tokens": 200, "max_new_tokens": 4},
        "stages": [
            {"name": "warmup", "objective": "nsr-prerl", "steps": 1, "learning_rate": 0.05},
            {"name": "rl", "objective": "grpo", "steps": 2, "learning_rate": 0.05},
        ],
        "evaluation": {"prompts": 8, "samples": 4, "pass_at": [1, 2]},
    }


def options(rows: Path, **more) -> dict:
    verifier = {"name": "regex", "settings": {"must_match": ["[0-9A-Z]"]}}
    return {"data": rows, "verifier": verifier, "model": FAST, "max_new_tokens": 4, **more}


def test_a_run_measures_itself_as_it_did_while_training(run_folder, tmp_path):
    """Same prompts, same draws, same weights: the run's own last evaluation, to the digit."""
    last = json.loads((run_folder / "evaluations.jsonl").read_text().splitlines()[-1])
    results = prerlkit.evaluate(run_folder, tmp_path / "out", samples=4, pass_at=(2,), with_base=True)
    base, own = results.targets
    assert own.metrics["accuracy"].value == last["accuracy"]["value"]
    assert own.metrics["avg@4"].value == last["average"]["value"]
    assert own.metrics["pass@2"].value == last["pass_at"]["2"]["value"]
    first = json.loads((run_folder / "evaluations.jsonl").read_text().splitlines()[0])
    assert base.metrics["avg@4"].value == first["average"]["value"]
    difference = results.comparisons[0].metrics["avg@4"]
    assert difference.estimate.value == pytest.approx(own.metrics["avg@4"].value - base.metrics["avg@4"].value)
    assert difference.estimate.value != 0
    assert (base.problems, base.completions, base.unjudged) == (8, 40, 0)
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved["targets"][1]["metrics"]["accuracy"]["value"] == own.metrics["accuracy"].value
    assert set(saved["targets"][0]["thoughts"]) == {"transition", "reflection", "verification", "decomposition"}


def test_the_adapter_folder_is_the_run_and_not_the_base(run_folder, rows, tmp_path):
    names = [run_folder, run_folder / "adapter", run_folder / "adapters" / "warmup"]
    run, adapter, stage = prerlkit.evaluate(names, tmp_path / "out", **options(rows, samples=8)).targets
    assert run.values == adapter.values
    assert stage.values != run.values


def test_a_loaded_policy_scores_and_writes_itself_whatever_it_was_loaded_from(run_folder, tmp_path):
    """Two stages of a run, and the one PEFT adapter that equals them, are the same policy; so is what each writes."""
    texts = [tuple(b"What is 3 + 4?7"), tuple(b"1 + 1")]
    run = prerlkit.load_policy(run_folder)
    adapter = prerlkit.load_policy(run_folder / "adapter", **FAST)
    assert [layer.name for layer in run.adapters.layers] == ["warmup", "rl"]
    assert [layer.settings for layer in adapter.adapters.layers] == [None]
    bare = prerlkit.load_policy(run_folder / "adapter", **FAST)
    with bare.adapters.bare():
        base = bare.score(texts)
    for policy, name in ((run, "of the run"), (adapter, "of the adapter")):
        policy.write_adapter(tmp_path / name)
        again = prerlkit.load_policy(tmp_path / name, base=str(run.base.config._name_or_path), **FAST)
        for own, written, none in zip(policy.score(texts), again.score(texts), base, strict=True):
            assert written == pytest.approx(own, abs=1e-4)
            assert own != pytest.approx(none, abs=1e-2)
    assert [len(scores) for scores in run.score(texts)] == [14, 4]


def test_stopped_anywhere_and_called_again_it_is_as_in_one_go(tiny_model, rows, tmp_path, monkeypatch):
    wanted = options(rows, samples=4, max_sequences=4)
    straight = prerlkit.evaluate(tiny_model, tmp_path / "straight", **wanted).targets[0]
    real, calls = harness.sample_and_judge, []

    def stops(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(harness, "sample_and_judge", stops)
    with pytest.raises(KeyboardInterrupt):
        prerlkit.evaluate(tiny_model, tmp_path / "again", **wanted)
    samples = next((tmp_path / "again").glob("*/samples.jsonl"))
    assert len(samples.read_text().splitlines()) == 7  # 4 + 2 greedy, 1 sampled
    with samples.open("a") as file:
        file.write('{"kind": "sampled", "prompt_id": "ev')  # torn by a kill
    resumed = prerlkit.evaluate(tiny_model, tmp_path / "again", **wanted).targets[0]
    assert resumed.values == straight.values
    assert len(calls) == 4 + 5  # the five problems that had no samples
    monkeypatch.setattr(harness.load, "load", None)  # all is there: no weights are loaded
    assert prerlkit.evaluate(tiny_model, tmp_path / "again", **wanted).targets[0].values == straight.values


def test_more_problems_go_on_and_other_settings_are_refused(tiny_model, rows, tmp_path):
    out = tmp_path / "out"
    few = prerlkit.evaluate(tiny_model, out, **options(rows, problems=2)).targets[0]
    all_ = prerlkit.evaluate(tiny_model, out, **options(rows)).targets[0]
    assert (few.problems, all_.problems) == (2, 6)
    with pytest.raises(UsageError, match="another settings"):
        prerlkit.evaluate(tiny_model, out, **options(rows, max_new_tokens=5))
    again = prerlkit.evaluate(tiny_model, out, overwrite=True, **options(rows, max_new_tokens=5))
    assert again.targets[0].problems == 6


def test_unjudged_completions_are_in_no_figure(tiny_model, rows, tmp_path, monkeypatch):
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        "def odd(completion, answer):\n    if int(answer) % 2:\n        raise ValueError('no idea')\n    return True\n"
    )
    monkeypatch.chdir(tmp_path)
    use = {"name": "odd.py:odd"}
    found = prerlkit.evaluate(tiny_model, "out", **options(rows, verifier=use, samples=2)).targets[0]
    assert (found.completions, found.unjudged) == (18, 9)
    assert found.metrics["accuracy"].value == found.metrics["avg@2"].value == 1.0
    assert len(found.values["accuracy"]) == 3
    assert found.metrics["maj@2"] is None  # this verifier extracts no answers


def test_an_unfinished_run_offers_its_checkpoint(run_folder, tmp_path):
    stopped = tmp_path / "stopped"
    shutil.copytree(run_folder, stopped)
    summary = json.loads((stopped / "summary.json").read_text())
    (stopped / "summary.json").write_text(json.dumps({**summary, "exit_reason": "stopped"}))
    with pytest.raises(UsageError, match=r"(?s)last checkpoint is of step 3.*--checkpoint.*`prerlkit resume "):
        find(str(stopped))
    finished = prerlkit.load_policy(run_folder).answer("1 + 1", max_new_tokens=8)
    assert prerlkit.load_policy(stopped, checkpoint=True).answer("1 + 1", max_new_tokens=8) == finished
    shutil.rmtree(stopped / "checkpoints")
    with pytest.raises(UsageError, match="no checkpoint"):
        find(str(stopped), checkpoint=True)


def test_another_base_or_a_missing_one_is_refused(run_folder, make_model, make_tokenizer, tmp_path):
    other = tmp_path / "other"
    make_model(seed=1).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    for target in (run_folder, run_folder / "adapter"):
        with pytest.raises(PrerlkitError, match=r"is not the model that .* was trained on"):
            prerlkit.load_policy(target, base=str(other))
    moved = tmp_path / "moved"
    shutil.copytree(run_folder / "adapter", moved)
    config = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/gone/model"}))
    with pytest.raises(UsageError, match=r"(?s)/gone/model.*--base"):
        prerlkit.load_policy(moved)


def test_an_adapter_that_fits_only_in_part_is_refused(run_folder, tmp_path):
    """PEFT itself would warn, and answer with what is left."""
    from safetensors.torch import load_file, save_file

    from prerlkit.policy.save import WEIGHTS

    broken, beside = tmp_path / "run" / "adapter", tmp_path / "run"
    shutil.copytree(run_folder / "adapter", broken)
    shutil.copy(run_folder / "recipe.yaml", beside)
    tensors = load_file(broken / WEIGHTS)
    tensors["base_model.model.model.layers.9.mlp.up_proj.lora_A.weight"] = torch.zeros(4, 64)
    save_file(tensors, broken / WEIGHTS)
    with pytest.raises(PrerlkitError, match="does not fit the base"):
        prerlkit.load_policy(broken)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verifier": None}, "--data needs --verifier"),
        ({"data": None}, "Nothing to evaluate on"),
        ({"preset": "math-500"}, 'did you mean "math500"'),
        ({"samples": 2, "pass_at": (4,)}, "k = 4 is more than samples"),
        ({"greedy": False}, "nothing would be done"),
        ({"smaples": 2}, 'did you mean "samples"'),
        ({"recipe": "smoke"}, "--recipe says what is asked"),
        ({"model": {"dtype": "int8"}}, "model.dtype"),
        ({"with_base": True}, "is a base itself"),
        ({"data": {"kind": "hub"}}, "--data: "),
        ({"verifier": {"nom": "math"}}, "--verifier: "),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_loaded(tiny_model, rows, tmp_path, change, words):
    given = {key: value for key, value in options(rows, **change).items() if value is not None}
    with pytest.raises(UsageError, match=words):
        prerlkit.evaluate(tiny_model, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


PRESET_ROWS = {
    "math500": {"problem": "1+1?", "solution": "x", "answer": "2", "subject": "Algebra", "level": 1, "unique_id": "a"},
    "aime24": {"id": 60, "problem": "1+1?", "solution": "x", "answer": "002", "url": "u", "year": "2024"},
    "aime25": {"problem": "1+1?", "answer": "2", "id": "0"},
    "amc23": {"id": 0, "question": "1+1?", "answer": "2.0", "url": "u"},
    "gsm8k": {"question": "1+1?", "answer": "One and one are <<1+1=2>>2.\n#### 2"},
    "humaneval": {
        "task_id": "H/0", "prompt": "def after(n):\n", "canonical_solution": "    return n + 1\n",
        "entry_point": "after", "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    },
    "mbpp": {
        "source_file": "f", "task_id": 2, "prompt": "Write a function to double.", "code": "def twice(n): return 2 * n",
        "test_imports": [], "test_list": ["assert twice(2) == 4", "assert twice(3) == 6"],
    },
}  # fmt: skip
"""One row of each, by hand, with the columns that the Hub's have."""


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_row_of_each_preset_becomes_a_prompt_whose_gold_answer_passes(name, make_tokenizer, tmp_path):
    from prerlkit.evaluation.harness.task import of_data
    from prerlkit.verify import VerifierInput
    from prerlkit.verify.pool.runner import Runner

    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(PRESET_ROWS[name]))
    task = of_data(preset_name=name, data=str(path))
    (prompt,), notes = task.prompts(make_tokenizer())
    assert any("1 of 1 pass verifier" in note for note in notes)
    assert "{" not in prompt.text.replace(r"\boxed{}", "")
    (plain,), _ = of_data(preset_name=name, data=str(path)).prompts(make_tokenizer(chat_template=None))
    assert plain.text != prompt.text
    assert "<turn>" not in plain.text
    with Runner(task.verifiers) as runner:
        wrong = VerifierInput(
            prompt.text, "```python\npass\n```" if "code" in task.verifiers[0].name else "3", prompt.answer
        )
        assert (
            runner.judge([VerifierInput(wrong.prompt, wrong.completion, wrong.answer, prompt.row)])[0].passed is False
        )


def test_an_adapter_in_the_hub_cache_is_found_by_its_id(run_folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    repository, commit = tmp_path / "models--me--mine", "b" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(run_folder / "adapter", repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    target = find("me/mine")
    assert target.adapter is not None
    assert target.adapter.name == commit
    assert find("me/other").adapter is None
    question = {"question": "1 + 1", "max_new_tokens": 6}
    own = prerlkit.load_policy(run_folder).answer(**question)
    assert prerlkit.load_policy("me/mine", **FAST).answer(**question) == own


def test_a_recipe_can_be_given_as_plain_data_with_overrides(tiny_model, tmp_path):
    recipe = _recipe(tiny_model)
    summary = prerlkit.run(recipe, tmp_path / "run", overrides={"stages.warmup.steps": 0, "stages.rl.steps": 1})
    assert summary.exit_reason == "completed"
    assert YAML(typ="safe").load((tmp_path / "run" / "recipe.yaml").read_text())["stages"][1]["steps"] == 1
    with pytest.raises(UsageError, match="stages"):
        prerlkit.run({**recipe, "stages": []}, tmp_path / "other")
