"""Unsloth's calls against the installed package: it imports without a GPU, and loading a model asks for one."""

from __future__ import annotations

import importlib.util
import inspect
import os

import pytest
import torch

from prerlkit.policy.unsloth import arguments
from prerlkit.recipe.model import Model


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    if importlib.util.find_spec("unsloth") is None:
        pytest.skip("Unsloth is not installed; .ci/run tests with it")
    os.environ["UNSLOTH_ALLOW_CPU"] = "1"
    os.environ["UNSLOTH_COMPILE_LOCATION"] = str(tmp_path_factory.mktemp("unsloth"))  # else into the working directory
    from unsloth import FastLanguageModel

    return FastLanguageModel


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loader_takes_every_argument_by_name(fast, checkpointing):
    """By name in its signature: what falls into **kwargs would be ignored in silence."""
    given = arguments("model", Model(id="x", quantization="nf4"), length=64, checkpointing=checkpointing)
    signature = inspect.signature(fast.from_pretrained)
    bound = signature.bind(**given)
    assert not bound.arguments.get("kwargs")
    assert set(given) <= set(signature.parameters)
    assert signature.parameters["use_gradient_checkpointing"].default == "unsloth"


def test_layers_without_its_adapters_call_their_projections(fast):
    """What our stack of two relies on: without `get_peft_model` no fused kernel replaces the PEFT layers."""
    from unsloth.models import llama

    for name, projections in (("original_apply_qkv", "qkv"), ("original_apply_o", "o")):
        source = inspect.getsource(getattr(llama, name))
        assert all(f"self.{p}_proj(" in source for p in projections)
    assert '"apply_qkv", original_apply_qkv' in inspect.getsource(llama)


def test_its_fused_kernels_still_refuse_two_active_adapters(fast):
    """Why they are not used. When this fails, they may have learned it: look again."""
    from unsloth.kernels.utils import get_lora_parameters

    class Two(torch.nn.Module):
        disable_adapters, merged, active_adapters = False, False, ["one", "two"]

        def __init__(self):
            super().__init__()
            self.base_layer = torch.nn.Linear(2, 2)

    with pytest.raises(ValueError, match="single active adapter"):
        get_lora_parameters(Two())
