"""Qwen3.5 as it is published, text and vision: what vLLM calls its layers, and packed rows where its kernels can."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prerlkit.policy.layout import stored_modules
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.model import Adapter, Model

HERE = Path(__file__).resolve().parent


def _module(name: str):
    """A file next to this one: tests are no package."""
    spec = importlib.util.spec_from_file_location(f"architectures_{name}", HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TABLE, trial = _module("table"), _module("trial")


def published(name: str, folder: Path, tokenizer, **text) -> Path:
    """Write the row `name` of the table as it is published; `text` changes its language model."""
    (row,) = (row for row in TABLE.ROWS if row.name == name)
    if text:
        row = TABLE.Row(row.name, row.model_type, row.config, {**row.text, **text}, row.architecture)
    TABLE.write(row, folder, tokenizer)
    return folder


def loaded(folder: Path, **model):
    settings = Model(id=str(folder), dtype="float32", device="cpu", **model)
    return load_policy(str(folder), settings, read_tokens(str(folder), settings))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory, make_tokenizer):
    return published("Qwen3.5, with vision", tmp_path_factory.mktemp("qwen3_5") / "model", make_tokenizer())


def test_an_engine_gets_the_adapter_under_the_names_of_the_files(qwen, tmp_path):
    """vLLM serves the whole checkpoint and drops, without an error, an adapter with the language model's own names."""
    policy = loaded(qwen)
    policy.adapters.fresh("one", Adapter(rank=2, alpha=4.0), seed=0)
    names = stored_modules(qwen, policy.adapters.found.linear)
    assert names["model.layers.0.linear_attn.in_proj_qkv"] == "model.language_model.layers.0.linear_attn.in_proj_qkv"
    assert set(names) == set(policy.adapters.found.linear)

    policy.write_adapter(tmp_path / "sent", names)
    policy.write_adapter(tmp_path / "own")
    sent, own = (load_file(tmp_path / place / "adapter_model.safetensors") for place in ("sent", "own"))
    moved = {key.replace("model.model.layers", "model.model.language_model.layers"): key for key in own}
    assert set(sent) == set(moved)
    assert all(torch.equal(tensor, own[moved[key]]) for key, tensor in sent.items())
    config = json.loads((tmp_path / "sent" / "adapter_config.json").read_text())
    assert set(config["target_modules"]) == set(policy.adapters.linear_names)  # last names: the same in both


def test_a_run_publishes_an_adapter_for_the_language_model_and_one_for_the_whole_checkpoint(qwen, tmp_path):
    """The second has the names by which vLLM, and PEFT on the published class, know the layers."""
    import transformers
    from peft import PeftModel

    done = trial.go(qwen, tmp_path / "run", "Qwen3_5ForConditionalGeneration")
    assert not done.refused
    assert done.adapter < 1e-5
    assert done.merged < 2e-5
    base = transformers.Qwen3_5ForConditionalGeneration.from_pretrained(qwen, dtype=torch.float32).eval()
    before = trial.logits(base)
    served = trial.logits(PeftModel.from_pretrained(base, str(tmp_path / "run" / "export" / "vllm")).eval())
    merged = trial.logits(trial.whole(tmp_path / "run" / "merged", "Qwen3_5ForConditionalGeneration"))
    assert trial.apart(served, merged) < 2e-5
    assert trial.apart(served, before) > 1e-3
    assert json.loads((tmp_path / "run" / "export" / "export.json").read_text())["vllm"] == "vllm"


@pytest.mark.parametrize("name", ["Qwen3.5, text", "Llama 3", "GPT-2", "Mixtral"])
def test_where_the_files_have_the_models_own_names_nothing_is_renamed(name, tmp_path, make_tokenizer):
    folder = published(name, tmp_path, make_tokenizer())
    policy = loaded(folder)
    assert stored_modules(folder, policy.adapters.found.linear) == {}
