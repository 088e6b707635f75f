"""More than sixty wrong recipes: each is refused with file, line and key, and with what would be right."""

from __future__ import annotations

import pytest

GOOD = """\
name: mine
seed: 0
model:
  id: MODEL
  dtype: float32
adapter: {rank: 2, alpha: 4}
data:
  train: {kind: generator, name: arithmetic, rows: 20, settings: {low: 0, high: 9}}
  eval: {kind: held_out, rows: 4}
  prompt: "{question}"
verifiers:
  - name: math
    settings: {extract: last_number}
rollout:
  group_size: 4
  prompts_per_step: 2
stages:
  - name: warmup
    objective: nsr-prerl
    steps: 2
    learning_rate: 1.0e-5
  - name: rl
    objective: {preset: grpo, loss: {high: 0.3}}
    steps: 2
    learning_rate: 1.0e-4
evaluation: {prompts: 4}
"""

# (what is replaced, by what, what the message must say)
WRONG: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # types
    "text for an integer": ("seed: 0", "seed: one", ("mine.yaml:2", "seed", "integer", "'one'")),
    "a float for an integer": ("steps: 2\n    learning_rate: 1.0e-5", "steps: 2.5\n    learning_rate: 1.0e-5",
                               ("mine.yaml:20", "stages[0].steps", "integer", "2.5")),
    "a whole float for an integer": ("group_size: 4", "group_size: 4.0", ("mine.yaml:15", "group_size", "4.0")),
    "a boolean for an integer": ("group_size: 4", "group_size: true", ("mine.yaml:15", "group_size", "integer")),
    "a quoted number": ("group_size: 4", 'group_size: "4"', ("mine.yaml:15", "group_size", "integer", "'4'")),
    "null for an integer": ("group_size: 4", "group_size: null", ("mine.yaml:15", "group_size", "integer")),
    "a list for a number": ("seed: 0", "seed: [0]", ("mine.yaml:2", "seed", "[0]")),
    "a mapping for text": ("  dtype: float32", "  revision: {a: 1}", ("mine.yaml:5", "model.revision", "string")),
    "a number for a name": ("name: mine", "name: 7", ("mine.yaml:1", "name", "string", "7")),
    "text for a section": ("adapter: {rank: 2, alpha: 4}", "adapter: small", ("mine.yaml:6", "adapter", "'small'")),
    "a list for a section": ("evaluation: {prompts: 4}", "evaluation: [4]", ("mine.yaml:26", "evaluation")),
    "text for a boolean": ("adapter: {rank: 2,", "adapter: {dora: maybe,", ("mine.yaml:6", "adapter.dora", "boolean")),
    "a number for a boolean": ("adapter: {rank: 2,", "adapter: {dora: 1,", ("mine.yaml:6", "adapter.dora", "boolean")),
    "a mapping for stages": ("stages:\n  - name: warmup", "stages:\n    name: warmup", ("mine.yaml",)),
    "text for the verifiers": ("verifiers:\n  - name: math\n    settings: {extract: last_number}", "verifiers: math",
                               ("mine.yaml:11", "verifiers", "'math'")),
    "a text for settings": ("settings: {extract: last_number}", "settings: boxed",
                            ("mine.yaml:13", "verifiers[0].settings", "'boxed'")),
    # ranges
    "a negative number of steps": ("steps: 2\n    learning_rate: 1.0e-4", "steps: -1\n    learning_rate: 1.0e-4",
                                   ("mine.yaml:24", "stages[1].steps", "greater than or equal to 0", "-1")),
    "a group of none": ("group_size: 4", "group_size: 0", ("mine.yaml:15", "greater than or equal to 1, got 0")),
    "rank 0": ("rank: 2", "rank: 0", ("mine.yaml:6", "adapter.rank", "greater than or equal to 1, got 0")),
    "a negative alpha": ("alpha: 4", "alpha: -4", ("mine.yaml:6", "adapter.alpha", "greater than 0")),
    "a learning rate of 0": ("learning_rate: 1.0e-5", "learning_rate: 0.0",
                             ("mine.yaml:21", "learning_rate", "greater than 0")),
    "a learning rate that is not a number": ("learning_rate: 1.0e-5", "learning_rate: .nan",
                                             ("mine.yaml:21", "learning_rate", "finite")),
    "an infinite learning rate": ("learning_rate: 1.0e-5", "learning_rate: .inf",
                                  ("mine.yaml:21", "learning_rate", "finite")),
    "a dropout above 1": ("rank: 2,", "rank: 2, dropout: 1.5,", ("mine.yaml:6", "dropout", "less than or equal to 1")),
    "top_p of 0": ("group_size: 4", "top_p: 0", ("mine.yaml:15", "rollout.top_p", "greater than 0")),
    "top_p above 1": ("group_size: 4", "top_p: 1.1", ("mine.yaml:15", "rollout.top_p", "less than or equal to 1")),
    "a negative top_k": ("group_size: 4", "top_k: -1", ("mine.yaml:15", "rollout.top_k", "greater than or equal to 0")),
    "a temperature of 0": ("group_size: 4", "temperature: 0.0", ("mine.yaml:15", "temperature", "greater than 0")),
    "a beta above 1": ("evaluation:", "optimizer: {betas: [0.9, 1.5]}\nevaluation:",
                       ("mine.yaml:26", "optimizer.betas[1]", "less than or equal to 1")),
    "one beta": ("evaluation:", "optimizer: {betas: [0.9]}\nevaluation:", ("mine.yaml:26", "optimizer.betas")),
    "a gradient clip of 0": ("evaluation:", "optimizer: {max_grad_norm: 0}\nevaluation:",
                             ("mine.yaml:26", "optimizer.max_grad_norm", "greater than 0")),
    "no prompts to evaluate": ("{prompts: 4}", "{prompts: 0}", ("mine.yaml:26", "evaluation.prompts", "1, got 0")),
    "one checkpoint to keep": ("evaluation:", "output: {keep_checkpoints: 1}\nevaluation:",
                               ("mine.yaml:26", "output.keep_checkpoints", "greater than or equal to 2")),
    "a window of 0": ("evaluation:", "health: {window: 0}\nevaluation:", ("mine.yaml:26", "health.window", "got 0")),
    "a timeout of 0": ("settings: {extract: last_number}", "timeout: 0", ("mine.yaml:13", "verifiers[0].timeout")),
    "a negative coefficient of KL": ("loss: {high: 0.3}", "kl: {coefficient: -1}", ("mine.yaml:23", "coefficient")),
    "a version that does not exist": ("seed: 0", "version: 9", ("mine.yaml:2", "version", "got 9")),
    # unknown keys and words
    "a misspelt key": ("group_size: 4", "group_sise: 4", ("mine.yaml:15", "unknown key", 'did you mean "group_size"')),
    "a misspelt section": ("rollout:", "rolout:", ("mine.yaml:14", "rolout: unknown key", 'did you mean "rollout"')),
    "another tool's key": ("seed: 0", "per_device_train_batch_size: 8", ("mine.yaml:2", "unknown key")),
    "a key of a stage in the wrong place": ("seed: 0", "learning_rate: 0.1", ("mine.yaml:2", "unknown key")),
    "an unknown preset": ("objective: nsr-prerl", "objective: nsr-perl", ("mine.yaml:19", '"nsr-prerl"')),
    "an unknown loss": ("loss: {high: 0.3}", "loss: clap", ("mine.yaml:23", "objective.loss", '"clap"', '"clip"')),
    "an unknown knob of a loss": ("{high: 0.3}", "{hihg: 0.3}", ("mine.yaml:23", "loss.hihg", '"high"')),
    "an unknown kind of data": ("kind: held_out", "kind: heldout", ("mine.yaml:9", "data.eval", '"held_out"')),
    "an unknown dtype": ("dtype: float32", "dtype: fp8", ("mine.yaml:5", "model.dtype", "bfloat16", "'fp8'")),
    "an unknown quantization": ("dtype: float32", "quantization: int4", ("mine.yaml:5", "quantization", "nf4")),
    "an unknown engine": ("group_size: 4", "engine: sglang", ("mine.yaml:15", "rollout.engine", "hf", "'sglang'")),
    "an unknown optimizer": ("evaluation:", "optimizer: lion\nevaluation:", ("mine.yaml:26", "optimizer", "'lion'")),
    "an unknown schedule": ("learning_rate: 1.0e-5", "learning_rate: 1.0e-5\n    schedule: polynomial",
                            ("mine.yaml:22", "schedule", "'polynomial'")),
    "an unknown reincarnation": ("learning_rate: 1.0e-4", "learning_rate: 1.0e-4\n    reincarnation: restart",
                                 ("mine.yaml:26", "reincarnation", "'stack'")),
    "an unknown condition of health": ("evaluation:", "health: {stop_on: [boredom]}\nevaluation:",
                                       ("mine.yaml:26", "health.stop_on[0]", "no_signal")),
    "an unknown verifier": ("name: math", "name: maths", ('"maths"', 'did you mean "math"')),
    "an unknown setting of a verifier": ("extract: last_number", "extrct: boxed", ("extrct", '"extract"')),
    "a wrong value of a verifier's setting": ("last_number", "somewhere", ("extract", "somewhere")),
    "an unknown generator": ("name: arithmetic", "name: arithmetics", ('"arithmetics"', '"arithmetic"')),
    "an unknown setting of a generator": ("low: 0", "lo: 0", ("lo", '"low"')),
    "a name with a slash": ("name: mine", "name: a/b", ("mine.yaml:1", "name", "'a/b'")),
    "a stage named like a way out": ("name: warmup", 'name: "../up"', ("mine.yaml:18", "stages[0].name", "'../up'")),
    # missing
    "no model": ("model:\n  id: MODEL\n  dtype: float32\n", "", ("mine.yaml", "model: this key is required")),
    "no id": ("  id: MODEL\n", "", ("mine.yaml:3", "model.id: this key is required")),
    "no objective": ("    objective: nsr-prerl\n", "", ("mine.yaml:18", "stages[0].objective: this key is required")),
    "no stages": (GOOD[GOOD.index("stages:") : GOOD.index("evaluation:")], "stages: []\n",
                  ("mine.yaml:17", "stages: needs at least one")),
    "no verifiers": ("verifiers:\n  - name: math\n    settings: {extract: last_number}", "verifiers: []",
                     ("mine.yaml:11", "verifiers: needs at least one")),
    "an empty objective": ("objective: nsr-prerl", "objective: []", ("mine.yaml:19", "needs at least one")),
    "an empty stage": ("  - name: warmup\n", "  -\n  - name: warmup\n", ("mine.yaml", "stages[0]")),
    # contradictions
    "two stages of one name": ("name: rl", "name: warmup", ('two are named "warmup"',)),
    "pass@8 of 4 samples": ("{prompts: 4}", "{samples: 4, pass_at: [8]}", ("pass_at: 8 is more than",)),
    "a pypi model without its hash": ("id: MODEL", 'id: "pypi:a==1#b.gguf"', ("model.sha256", "SHA-256")),
    "an optimizer kept by a fresh adapter": ("learning_rate: 1.0e-4", "learning_rate: 1.0e-4\n    keep_optimizer: true",
                                             ('"rl" has keep_optimizer', "reincarnation: continue")),
    "other settings for a continued adapter": (
        "learning_rate: 1.0e-4", "learning_rate: 1.0e-4\n    reincarnation: continue\n    adapter: {rank: 8}",
        ('"rl" continues', "other adapter settings")),
    "a stack on DoRA": ("alpha: 4}", "alpha: 4, dora: true}", ("DoRA is not a sum of products", "dora: false")),
    "a run-wide key in one stage": ("learning_rate: 1.0e-4", "learning_rate: 1.0e-4\n    rollout: {max_sequences: 1}",
                                    ('"rl" overrides rollout.max_sequences', "whole run")),
    "a weight of a gate": ("settings: {extract: last_number}", "weight: 2.0\n    gate: true",
                           ('"math" has a weight', "it is a gate")),
    "a verifier that needs an answer where there is none": ('prompt: "{question}"', "answer: null",
                                                            ('"math" needs a gold answer', "data.answer")),
    "two conditions in one filter": ('prompt: "{question}"', "filters: [{column: question, equals: a, matches: b}]",
                                     ("mine.yaml:10", "exactly one of")),
    "no condition in a filter": ('prompt: "{question}"', "filters: [{column: question}]", ("exactly one of",)),
    # YAML's traps
    "a tab": ("seed: 0", "\tseed: 0", ("mine.yaml:2", "not valid YAML")),
    "a duplicate key": ("seed: 0", "seed: 0\nseed: 1", ("mine.yaml:3", "duplicate key")),
    "a duplicate key deep inside": ("group_size: 4", "group_size: 4\n  group_size: 8",
                                    ("mine.yaml:16", "duplicate key")),
    "an anchor that is not there": ("adapter: {rank: 2, alpha: 4}", "adapter: *small", ("mine.yaml:6", "alias")),
    "an anchor used for a wrong section": ("adapter: {rank: 2, alpha: 4}\n", "adapter: &a {rank: 2}\nmemory: *a\n",
                                           ("memory.rank: unknown key",)),
    "a merge key for another section": ("evaluation: {prompts: 4}", "x: &x {rank: 2}\nevaluation: {<<: *x}",
                                        ("mine.yaml:26", "x: unknown key")),
    "1e-6 with a comma": ("1.0e-5", "1,0e-5", ("mine.yaml:21", "learning_rate", "number", "'1,0e-5'")),
    "1e-6 with a unit": ("1.0e-5", "1e-5 # fine\n    schedule: {warmup_steps: 1e3}",
                         ("mine.yaml:22", "warmup_steps", "integer")),
    "a number in quotes": ("1.0e-5", '"1e-5"', ("mine.yaml:21", "learning_rate", "number", "'1e-5'")),
    "yes is a word": ("adapter: {rank: 2,", "adapter: {dora: yes,", ("mine.yaml:6", "adapter.dora", "'yes'")),
    "an octal that is none": ("seed: 0", "seed: 0o8", ("mine.yaml:2", "seed", "'0o8'")),
    "a missing space after a colon": ("seed: 0", "seed:0", ("mine.yaml",)),
    "wrong indentation": ("  - name: rl", "   - name: rl", ("mine.yaml:22", "not valid YAML")),
    "an open bracket": ("{rank: 2, alpha: 4}", "{rank: 2, alpha: 4", ("mine.yaml", "not valid YAML")),
    "an open quote": ('prompt: "{question}"', 'prompt: "{question}', ("mine.yaml", "not valid YAML")),
    "braces without quotes": ('prompt: "{question}"', "prompt: {question}", ("mine.yaml:10", "data.prompt", "string")),
    "a tag": ("seed: 0", "seed: !!python/object/apply:os.system [ls]", ("mine.yaml:2", "seed")),
    "two documents": ("seed: 0", "seed: 0\n---\nname: other", ("mine.yaml", "not valid YAML")),
    "a date": ("name: mine", "name: 2026-01-01", ("mine.yaml:1", "name", "string")),
    "a control character": ("seed: 0", "seed: 0 # \x07", ("mine.yaml", "not valid YAML")),
    # prompts and answers
    "a prompt without a column": ("{question}", "hello", ("data.prompt", "names no column")),
    "a prompt with an open brace": ("{question}", "{question", ("data.prompt",)),
    "a prompt that looks inside": ("{question}", "{question.__class__}", ("data.prompt", "not a plain {column}")),
    "a prompt of a column that is not there": ("{question}", "{problem}", ('no column "problem"',)),
    "an answer pattern that is no regular expression": ('prompt: "{question}"', 'answer_pattern: "("',
                                                        ("data.answer_pattern", "not a regular expression")),
    "an answer pattern without a group": ('prompt: "{question}"', 'answer_pattern: "a"', ("has no group",)),
    "more held out than there is": ("rows: 4}", "rows: 20}", ("data.eval", "can't be held out")),
    "a file that is not there": ("train: {kind: generator, name: arithmetic, rows: 20, settings: {low: 0, high: 9}}",
                                 "train: {kind: file, path: rows.jsonl}", ("no such file", "rows.jsonl")),
    "more rows than a generator has": ("rows: 20,", "rows: 9000,", ("arithmetic", "9000", "only 100 exist")),
    # the model
    "a model folder that is not there": ("id: MODEL", "id: ./nowhere", ('no folder "./nowhere"',)),
    "a start token that is many": ("dtype: float32", "start_token: hello there",
                                   ("model.start_token", "not one token")),
    "a target that no layer has": ("rank: 2,", "rank: 2, targets: [q_prj],", ('"q_prj" matches no', '"q_proj"')),
}  # fmt: skip


def text(tiny_model, old: str, new: str) -> str:
    assert GOOD.count(old) >= 1, f"{old!r} is not in the good recipe"
    return GOOD.replace(old, new, 1).replace("MODEL", str(tiny_model))


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe(refused, tiny_model, tmp_path, case):
    old, new, words = WRONG[case]
    (tmp_path / "mine.yaml").write_text(text(tiny_model, old, new), encoding="utf-8")
    refused(words, 2, "run", "mine.yaml", "-o", "out")


def test_the_battery_is_as_large_as_it_says():
    assert len(WRONG) >= 60


def test_the_recipe_that_the_battery_breaks_is_right(tiny_model, tmp_path):
    from prerlkit.recipe.load import load

    (tmp_path / "mine.yaml").write_text(GOOD.replace("MODEL", str(tiny_model)))
    assert load(str(tmp_path / "mine.yaml")).recipe.name == "mine"


BYTES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("mine.yaml", "this file is empty")),
    "only a comment": (b"# later\n", ("mine.yaml", "this file is empty")),
    "a list": (b"- a\n- b\n", ("mine.yaml", "a mapping")),
    "prose": (b"Dear model, learn to add.\n", ("mine.yaml", "a mapping")),
    "not UTF-8": (b"name: caf\xe9\n", ("mine.yaml", "not valid YAML")),
    "UTF-16": ("name: mine\n".encode("utf-16"), ("mine.yaml", "not valid YAML")),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ("mine.yaml", "not valid YAML")),
    "JSON with a comma too many": (b'{"name": "mine", "seed": 1,, }', ("mine.yaml", "not valid YAML")),
    "an anchor within itself": (b"name: &a [*a]\n", ("mine.yaml",)),
    "deep": (b"a: " + b"[" * 3000, ("mine.yaml", "not valid YAML")),
}


@pytest.mark.parametrize("case", BYTES)
def test_a_file_that_is_no_recipe(refused, tmp_path, case):
    content, words = BYTES[case]
    (tmp_path / "mine.yaml").write_bytes(content)
    refused(words, 2, "run", "mine.yaml", "-o", "out")


OVERRIDES: dict[str, tuple[str, tuple[str, ...]]] = {
    "no value": ("seed", ("not of the form path=value",)),
    "no path": ("=3", ("not of the form path=value",)),
    "a hole in the path": ("rollout..group_size=3", ("not of the form path=value",)),
    "an unknown section": ("rolout.group_size=3", ("rolout: unknown key", '"rollout"')),
    "an unknown key": ("rollout.group_sise=3", ("group_sise: unknown key", '"group_size"')),
    "below a value": ("seed.x=3", ("seed is a value, not a section",)),
    "a stage that is not there": ("stages.sft.steps=3", ('none is "sft"',)),
    "a stage past the end": ("stages.7.steps=3", ('none is "7"',)),
    "not YAML": ("seed=[1", ("the value is not YAML",)),
    "a wrong type": ("seed=x", ("--set seed=x", "integer")),
    "a list where a mapping belongs": ("rollout=[1]", ("--set rollout=[1]", "rollout")),
    "null for the stages": ("stages=null", ("stages",)),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_wrong_override(refused, tiny_model, tmp_path, case):
    override, words = OVERRIDES[case]
    (tmp_path / "mine.yaml").write_text(GOOD.replace("MODEL", str(tiny_model)))
    refused(words, 2, "run", "mine.yaml", "-o", "out", "--set", override)
