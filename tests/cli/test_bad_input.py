"""Each wrong input gets one paragraph that says what to do, exit code 2 or 1, no traceback and no half-made folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from prerlkit import chat
from prerlkit.data import template


def refused(done, code: int, *said: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error ")
    assert len(done.stderr.splitlines()) <= 6, done.stderr
    for part in said:
        assert part in done.stderr


def test_an_unknown_key(invoke, recipe_file):
    done = invoke("run", recipe_file(rollout={"group_sise": 4}))
    refused(done, 2, "tiny.yaml:", "rollout.group_sise: unknown key", 'did you mean "group_size"')


def test_a_wrong_type(invoke, recipe_file):
    refused(invoke("run", recipe_file(seed="one")), 2, "tiny.yaml:", "seed: expected a valid integer", "'one'")


def test_an_unknown_recipe_and_an_unknown_command(invoke):
    refused(invoke("run", "quickstart_drsl"), 2, 'no packaged recipe "quickstart_drsl"; did you mean "quickstart_dsrl"')
    done = invoke("rum", "smoke")
    assert done.returncode == 2
    assert "No such command 'rum'" in done.stderr


def test_an_empty_data_set(invoke, recipe_file, tmp_path):
    (tmp_path / "rows.jsonl").touch()
    data = {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "held_out", "rows": 1}}
    refused(invoke("run", recipe_file(data=data)), 2, "file rows.jsonl has no rows")


def test_a_missing_column(invoke, recipe_file, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"questoin": "a", "answer": "1"}\n{"questoin": "b", "answer": "2"}\n')
    data = {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "held_out", "rows": 1}}
    refused(invoke("run", recipe_file(data=data)), 2, 'no column "question"; did you mean "questoin"')


def test_a_prompt_over_the_limit(invoke, recipe_file):
    rollout = {"max_prompt_tokens": 10, "max_new_tokens": 3}
    refused(
        invoke("run", recipe_file(rollout=rollout)),
        2,
        "longer than rollout.max_prompt_tokens (10)",
        "max_prompt_tokens: 32",
    )


def test_eval_rows_inside_train(invoke, recipe_file, tmp_path):
    rows = [json.dumps({"question": f"q{i}", "answer": "1"}) for i in range(4)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    (tmp_path / "eval.jsonl").write_text(rows[2])
    data = {"train": {"kind": "file", "path": "train.jsonl"}, "eval": {"kind": "file", "path": "eval.jsonl"}}
    refused(invoke("run", recipe_file(data=data)), 2, "1 of 1 eval prompts are also in train", "eval/0 is train/2")


def changed_model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    return folder


def edit_json(path: Path, **changes) -> None:
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def test_a_tokenizer_without_chat_template(invoke, recipe_file, tiny_model, tmp_path):
    folder = changed_model(tiny_model, tmp_path)
    (folder / "chat_template.jinja").unlink()
    model = {"id": str(folder), "dtype": "float32", "device": "cpu", "start_token": "<turn>"}
    refused(invoke("run", recipe_file(model=model)), 2, "no chat template", "data.chat: false")
    data = {**plain_data(), "chat": False}
    done = invoke("run", recipe_file(model=model, data=data), "-o", "out")
    assert done.returncode == 0, done.stderr


def test_a_tokenizer_without_template_and_bos_needs_a_start_token(invoke, recipe_file, tiny_model, tmp_path):
    folder = changed_model(tiny_model, tmp_path)
    (folder / "chat_template.jinja").unlink()
    done = invoke("run", recipe_file(model={"id": str(folder)}, data={**plain_data(), "chat": False}))
    refused(done, 2, "neither a BOS token nor a chat template", "start_token:")


def plain_data() -> dict:
    return {
        "train": {"kind": "generator", "name": "arithmetic", "rows": 20, "settings": {"high": 9}},
        "eval": {"kind": "held_out", "rows": 4},
    }


def test_a_tokenizer_without_pad_token_works(invoke, recipe_file, tiny_model):
    """Padding is ours and never attended to, so no pad token is needed."""
    assert "pad_token" not in json.loads((tiny_model / "tokenizer_config.json").read_text())
    assert invoke("run", recipe_file(), "-o", "out").returncode == 0


def test_a_start_token_that_does_not_resolve(invoke, recipe_file, tiny_model):
    model = {"id": str(tiny_model), "start_token": "<|im_start|>"}
    refused(invoke("run", recipe_file(model=model)), 2, "model.start_token '<|im_start|>' is not one token", "<turn>")


def test_an_adapter_target_that_matches_no_layer(invoke, recipe_file):
    done = invoke("run", recipe_file(adapter={"targets": ["q_prj"]}), "-o", "out")
    refused(done, 2, '"q_prj" matches no linear layer', 'did you mean "q_proj"')


def test_a_model_that_cannot_be_reached(prerlkit, recipe_file, tmp_path):
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    done = prerlkit("run", recipe_file(model={"id": "some/model"}), env=env)
    refused(done, 1, '"some/model"', "local folder")


def test_a_model_folder_without_weights(invoke, recipe_file, tiny_model, tmp_path):
    folder = changed_model(tiny_model, tmp_path)
    (folder / "model.safetensors").unlink()
    refused(invoke("run", recipe_file(model={"id": str(folder)})), 2, "has a config.json but no *.safetensors")


def test_weights_that_are_cut_off(invoke, recipe_file, tiny_model, tmp_path):
    folder = changed_model(tiny_model, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(invoke("run", recipe_file(model={"id": str(folder)})), 1, str(folder), "could not be loaded")


def test_a_model_folder_that_does_not_exist(invoke, recipe_file):
    refused(invoke("run", recipe_file(model={"id": "./nowhere"})), 2, 'there is no folder "./nowhere"')


def test_no_space_left(invoke, recipe_file, monkeypatch):
    """The disk is full when the first stage's adapter is written."""
    from prerlkit.policy import save

    def full(tensors, path, metadata):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(save, "save_file", full)
    refused(invoke("run", recipe_file(), "-o", "out"), 1, "No space left on device", "Free some space", "--resume")


def test_an_output_path_that_cannot_be_a_folder(invoke, recipe_file, tmp_path):
    (tmp_path / "file").touch()
    refused(invoke("run", recipe_file(), "-o", "file/out"), 1, "Not a directory", "file/out")


def test_an_unknown_verifier_and_a_wrong_setting(invoke, recipe_file):
    done = invoke("run", recipe_file(verifiers=[{"name": "maths"}]))
    refused(done, 2, 'no verifier is named "maths"; did you mean "math"')
    done = invoke("run", recipe_file(verifiers=[{"name": "math", "settings": {"extrct": "boxed"}}]))
    refused(done, 2, "extrct", 'did you mean "extract"')


def test_a_verifier_that_needs_an_answer_where_the_data_has_none(invoke, recipe_file):
    data = {**plain_data(), "answer": None}
    done = invoke("run", recipe_file(data=data, verifiers=[{"name": "math"}]))
    refused(done, 2, 'verifier "math" needs a gold answer, but data.answer is null')


def test_a_missing_gold_column(invoke, recipe_file):
    data = {**plain_data(), "answer": "solution"}
    refused(invoke("run", recipe_file(data=data)), 2, "data.answer: row train/", 'has no column "solution"')


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_gold_answers_that_fail_their_own_verifier(invoke, recipe_file, tmp_path, dry):
    """Before any weight is loaded, with the row."""
    rows = [json.dumps({"question": f"q{i}", "answer": "Paris" if i == 5 else str(i)}) for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    data = {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "held_out", "rows": 2}}
    verifiers = [{"name": "math", "settings": {"extract": "last_number"}}]
    done = invoke("run", recipe_file(data=data, verifiers=verifiers), "-o", "out", *dry)
    refused(done, 2, 'verifier "math" fails 1 of 12 gold answers', "/5, gold answer 'Paris'", "data.answer_pattern")
    assert not (tmp_path / "out").exists()


def test_a_plugin_that_fails_to_import(invoke, recipe_file, tmp_path):
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "bad.py").write_text("\nraise RuntimeError('on purpose')\n")
    done = invoke("run", recipe_file(verifiers=[{"name": "bad"}]), "--trust")
    refused(done, 2, "RuntimeError: on purpose", "verifiers/bad.py, line 2")


def test_a_weight_that_means_nothing(invoke, recipe_file):
    two = [{"name": "math", "weight": 2.0}, {"name": "format"}]
    refused(invoke("run", recipe_file(verifiers=two, reward="product")), 2, '"math" has a weight', "reward: product")
    gate = [{"name": "math"}, {"name": "format", "weight": 2.0, "gate": True}]
    refused(invoke("run", recipe_file(verifiers=gate)), 2, '"format" has a weight', "it is a gate")


def test_an_occupied_output_folder(invoke, recipe_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    done = invoke("run", recipe_file(), "-o", "out")
    refused(done, 2, "out exists and is not empty", "--resume", "--overwrite")
    assert "loading libraries" not in done.stderr + done.stdout  # refused at once
    refused(invoke("run", recipe_file(), "-o", "out", "--resume", "--overwrite"), 2, "exclude each other")


def test_a_missing_cuda_device(invoke, recipe_file, tiny_model):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = invoke("run", recipe_file(model={"id": str(tiny_model), "device": "cuda"}), "-o", "out")
    refused(done, 2, "torch sees no CUDA device", "device: auto")


def test_verbose_shows_the_traceback(invoke, recipe_file):
    done = invoke("run", recipe_file(model={"id": "./nowhere"}), "-v")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "UsageError: " in done.stderr


@pytest.mark.parametrize("change", [{"hidden_size": 10**9}, {"num_hidden_layers": -1}, {"vocab_size": "many"}])
@pytest.mark.parametrize("command", [("run",), ("plan",), ("eval", "--data", "rows.jsonl", "--verifier", "math")])
def test_a_model_of_absurd_sizes(invoke, recipe_file, tiny_model, tmp_path, command, change):
    folder = changed_model(tiny_model, tmp_path)
    edit_json(folder / "config.json", **change)
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "1"}\n')
    what = folder if command[0] == "eval" else recipe_file(model={"id": str(folder), "device": "cpu"})
    (key,) = change
    refused(invoke(command[0], what, *command[1:]), 2, f"config.json: {key} is ", "Fetch the model again")


def test_a_chat_template_without_end(invoke, recipe_file, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(chat, "SECONDS", 0.2)
    folder = changed_model(tiny_model, tmp_path)
    loop = "{% for i in range(99999) %}" * 4 + "{% endfor %}" * 4
    (folder / "chat_template.jinja").write_text(loop)
    model = {"id": str(folder), "dtype": "float32", "device": "cpu"}
    refused(invoke("run", recipe_file(model=model)), 2, "chat template takes more than 0.2 s", "chat_template.jinja")


def test_a_filter_without_end(invoke, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(template, "SECONDS", 0.1)
    row = json.dumps({"question": "a" * 40 + "!", "answer": "1"})
    (tmp_path / "rows.jsonl").write_text(row)
    data = {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "held_out", "rows": 1}}
    data["filters"] = [{"column": "question", "matches": "(a+)+$"}]
    refused(
        invoke("run", recipe_file(data=data)), 2, "data.filters: row train/0: the regular expression takes too long"
    )
