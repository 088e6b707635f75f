"""The linear layers' fast forwards while sampling: PEFT's function, for all active adapters at once."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from prerlkit.rollout.linears import FusedLora


@pytest.mark.parametrize("active", [["one"], ["one", "two"]])
def test_a_layer_with_adapters_computes_pefts_function(active):
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["0"], init_lora_weights=False)
    model = get_peft_model(nn.Sequential(nn.Linear(32, 24), nn.Linear(24, 8)), config, adapter_name="one")
    model.add_adapter("two", config)
    model.base_model.set_adapter(active)
    model.dtype = torch.float32
    x = torch.randn(5, 3, 32)
    with torch.no_grad():
        expected = model(x)
        with FusedLora(model).sampling():
            changed = [name for name, module in model.named_modules() if "forward" in vars(module)]
            out = model(x)
    assert [name.rpartition(".")[2] for name in changed] == ["0"]
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert not any("forward" in vars(module) for module in model.modules())
