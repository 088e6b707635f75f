"""An adapter of plain PEFT as the ground of a run: held exactly, exported exactly, or refused."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from prerlkit.errors import PrerlkitError

WEIGHTS = "adapter_model.safetensors"
IDS = torch.arange(1, 9)[None]


def base(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture
def adapter(tiny_model, tmp_path):
    """The folder of an adapter that PEFT made and wrote, on all linear layers."""
    torch.manual_seed(0)
    made = get_peft_model(base(tiny_model), LoraConfig(r=2, lora_alpha=4, target_modules="all-linear"))
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(tmp_path / "peft")
    return tmp_path / "peft"


def on(recipe: dict, source, **second) -> dict:
    recipe = copy.deepcopy(recipe)
    recipe["stages"][0]["from"] = str(source)
    recipe["stages"][1].update(second)
    return recipe


def test_it_is_frozen_below_the_next_stage_and_resumes_to_the_byte(go, same_run, tiny_recipe, adapter, tmp_path):
    recipe = on(tiny_recipe(), adapter)
    _, callback = go(recipe, tmp_path / "straight")
    assert any("has this base's weights" in note for note in callback.notes)
    held, given = load_file(tmp_path / "straight" / "adapters" / "warmup" / WEIGHTS), load_file(adapter / WEIGHTS)
    assert held.keys() == given.keys()
    assert all(torch.equal(held[key], given[key]) for key in given)
    go(recipe, tmp_path / "parts", stop_after=1)
    shutil.rmtree(adapter)
    go(recipe, tmp_path / "parts", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")


def test_the_first_stage_computes_what_peft_computes(go, tiny_recipe, tiny_model, adapter, tmp_path):
    go(on(tiny_recipe(), adapter, steps=0), tmp_path / "out")
    with torch.no_grad():
        ours = PeftModel.from_pretrained(base(tiny_model), tmp_path / "out" / "adapters" / "warmup")(IDS).logits
        theirs = PeftModel.from_pretrained(base(tiny_model), adapter)(IDS).logits
        bare = base(tiny_model)(IDS).logits
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, bare)


def test_the_next_stage_can_train_it(go, tiny_recipe, adapter, tmp_path):
    go(on(tiny_recipe(), adapter, reincarnation="continue"), tmp_path / "out")
    after, given = load_file(tmp_path / "out" / "adapters" / "rl" / WEIGHTS), load_file(adapter / WEIGHTS)
    assert after.keys() == given.keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_dora": True}, "use_dora True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias 'all'"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base's weights"),
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"r": 8}, "rank 8 there, 2 here"),
        ({"use_rslora": True}, "rslora True there, False here"),
    ],
)
def test_a_config_that_a_stage_cannot_hold_is_refused(go, tiny_recipe, adapter, tmp_path, change, words):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(PrerlkitError, match=words):
        go(on(tiny_recipe(), adapter), tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_tensors_that_do_not_fit_are_refused(go, tiny_recipe, adapter, tmp_path):
    tensors = load_file(adapter / WEIGHTS)
    name = next(key for key in tensors if ".lora_A." in key)

    def refused(words: str, changed: dict) -> None:
        save_file(changed, adapter / WEIGHTS)
        with pytest.raises(PrerlkitError, match=words):
            go(on(tiny_recipe(), adapter), tmp_path / "out", existing="overwrite")
        assert not (tmp_path / "out" / "metrics.jsonl").exists()

    refused("is not finite", tensors | {name: torch.full_like(tensors[name], torch.nan)})
    refused("not of rank 2", tensors | {name: torch.ones(3, tensors[name].shape[1])})
    refused("such as .* there, .* here", tensors | {name: torch.ones(2, tensors[name].shape[1] + 1)})
    refused("absent there", {key: tensor for key, tensor in tensors.items() if key != name})
