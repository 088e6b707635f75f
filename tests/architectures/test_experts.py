"""Why fused experts get no adapter: PEFT holds several exactly, and the one adapter of all stages would not."""

from __future__ import annotations

import architectures_table as table
import architectures_trial as trial
import pytest
import torch
from peft import LoraConfig, PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from prerlkit.policy.save import WEIGHTS, concatenate

EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]


def config() -> LoraConfig:
    return LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], target_parameters=EXPERTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Qwen3-MoE", "Mixtral", "gpt-oss"])
def test_peft_stacks_and_merges_experts_and_the_concatenation_of_stages_does_not_hold_them(name, tmp_path):
    """docs/models.md has the reason. Once `concatenate` holds experts, they are one step nearer to an adapter."""
    (row,) = (row for row in table.ROWS if row.name == name)
    keys = ["one", "two"]
    model = PeftModel(table.build(row), config(), adapter_name=keys[0])
    model.add_adapter(keys[1], config())
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                parameter.normal_(std=0.2)
    model.base_model.set_adapter(keys)
    stacked = trial.logits(model)
    assert trial.apart(stacked, trial.logits(table.build(row))) > 0.1

    tensors = [get_peft_model_state_dict(model, adapter_name=key) for key in keys]
    one, joined = concatenate([config(), config()], tensors)
    one.target_parameters = EXPERTS
    one.save_pretrained(str(tmp_path))
    save_file({k: v.contiguous() for k, v in joined.items()}, tmp_path / WEIGHTS, metadata={"format": "pt"})
    try:
        concatenated = trial.logits(PeftModel.from_pretrained(table.build(row), str(tmp_path)).eval())
    except (RuntimeError, ValueError):
        concatenated = torch.zeros_like(stacked)
    assert not trial.apart(concatenated, stacked) < 0.01

    merged = trial.logits(model.merge_and_unload(adapter_names=keys))
    assert trial.apart(merged, stacked) < 1e-5
