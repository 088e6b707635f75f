"""Qwen3.5 on real vLLM, in bfloat16: adapters on gated delta nets, as text alone and as published, with vision."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import torch

from prerlkit.policy.layout import stored_modules
from prerlkit.recipe.model import Adapter, Model
from prerlkit.rollout.canary import Canary, CanaryEngine
from prerlkit.types import Prompt

PROMPTS = tuple(Prompt(f"p{i}", "", tuple(range(40 + i, 64 + i))) for i in range(4))
TEXT = {
    "vocab_size": 264,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 1,
    "linear_key_head_dim": 128,  # vLLM's CPU kernels take no smaller ones
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "eos_token_id": 256,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [3, 3, 2],
        "mrope_interleaved": True,
    },
}
VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 64}
_ANYTHING = """
from unittest.mock import MagicMock

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return MagicMock()
"""


@pytest.fixture(scope="module", autouse=True)
def images(tmp_path_factory):
    """Put an empty torchvision on the path where there is none: vLLM imports it, and text never calls it."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    folder = tmp_path_factory.mktemp("modules")
    for module in ("", "io", "transforms", "transforms/v2", "transforms/v2/functional", "transforms/functional"):
        place = folder / "torchvision" / module
        place.mkdir(exist_ok=True)
        (place / "__init__.py").write_text(_ANYTHING if module else '__version__ = "0"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.syspath_prepend(str(folder))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", ["Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"])
def test_an_adapter_on_every_kind_of_layer_arrives(vllm, kind, tmp_path, make_tokenizer):
    import transformers

    from prerlkit.policy.policy import load_policy
    from prerlkit.policy.tokens import read_tokens
    from prerlkit.rollout.vllm import VllmEngine
    from prerlkit.rollout.vllm_local import LocalSettings, LocalVllm

    config = transformers.Qwen3_5Config(text_config=TEXT, vision_config=VISION, tie_word_embeddings=False)
    torch.manual_seed(0)
    whole = kind == "Qwen3_5ForConditionalGeneration"
    made = getattr(transformers, kind)(config if whole else config.text_config)
    folder = tmp_path / "model"
    made.to(torch.bfloat16).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)

    model = Model(id=str(folder), dtype="bfloat16", device="cpu")
    policy = load_policy(str(folder), model, read_tokens(str(folder), model))
    found = policy.adapters.found.linear
    assert {name.split(".")[-2] for name in found} == {"linear_attn", "self_attn", "mlp"}
    names = stored_modules(folder, found)
    assert bool(names) == whole
    canary = Canary(policy, PROMPTS, "bfloat16")
    way = tmp_path / "way"
    way.mkdir()
    settings = LocalSettings(folder, "bfloat16", policy.adapters.linear_names, 8, 128, 8, False, True, 0.3, 64 << 20)
    engine = VllmEngine(
        LocalVllm(settings, way), policy, policy.tokenizer.decode, policy.end_ids, way / "adapters", names
    )
    try:
        watched = CanaryEngine(engine, canary)
        assert watched.base_drift < 0.1
        policy.adapters.fresh("one", Adapter(rank=4, alpha=8.0), seed=1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in policy.adapters.trainable:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        sync = watched.sync_weights()
        assert sync.drift < 0.1
        assert sync.gain == pytest.approx(1.0, abs=0.1)
    finally:
        engine.close()
