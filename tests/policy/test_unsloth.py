"""The Unsloth backend where there is none: what is missing, and what is done with what it loads."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch

from prerlkit.errors import UsageError
from prerlkit.install import pip_install
from prerlkit.policy import unsloth
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import StartToken, Tokens
from prerlkit.recipe.load import load
from prerlkit.recipe.model import Adapter, Model
from prerlkit.recipe.schema import Memory


def test_what_is_missing_is_said_with_the_install_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        unsloth.check_usable(torch.device("cuda"))
    assert pip_install("unsloth") in caught.value.hint
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UsageError, match="CUDA only"):
        unsloth.check_usable(torch.device("cpu"))


def test_it_goes_with_vllm():
    with pytest.raises(UsageError, match="goes with rollout"):
        load("smoke", ["model.backend=unsloth"])
    load("smoke", ["model.backend=unsloth", "rollout.engine=vllm"])


def test_what_it_loads_is_frozen_and_takes_a_stack_of_two(monkeypatch, make_model):
    asked = {}

    class FastLanguageModel:
        @staticmethod
        def from_pretrained(**given):
            asked.update(given)
            return make_model(attention_dropout=0.1), None

    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(FastLanguageModel=FastLanguageModel))
    monkeypatch.setattr(unsloth, "check_usable", lambda device: None)
    model = Model(id="x", backend="unsloth", device="cpu", dtype="float32")
    tokens = Tokens(None, (2,), StartToken(1, "s", "test"))
    policy = load_policy("folder", model, tokens, Memory(gradient_checkpointing=True), length=77)
    assert asked["model_name"] == "folder"
    assert (asked["max_seq_length"], asked["use_gradient_checkpointing"]) == (77, "unsloth")
    assert not any(p.requires_grad for p in policy.base.parameters())
    assert not policy.share_contexts
    policy.adapters.fresh("one", Adapter(rank=2), seed=1)
    policy.adapters.fresh("two", Adapter(rank=2), seed=2)
    assert [layer.status for layer in policy.adapters.layers] == ["frozen", "trainable"]
