"""A small model, its tokenizer and its recipe, made here: checks need no network and no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prerlkit.recipe.schema import Recipe

TEMPLATE = (
    "{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


def write_model(folder: Path) -> None:
    """Write a random Qwen3 of a million parameters and a tokenizer whose tokens are bytes.

    Heads are 64 wide: vLLM's kernels take no narrow ones. Weights are spread widely, so that a wrong adapter or a wrong
    row shows in log-probs.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="<end>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = TEMPLATE
    config = Qwen3Config(
        vocab_size=264,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=None,
        initializer_range=0.05,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def recipe(folder: Path, device: str, **changes: Any) -> Recipe:
    """Return a recipe of two short stages for the model in `folder`; `changes` replace whole top-level keys."""
    data = {
        "name": "doctor",
        "model": {"id": str(folder), "dtype": "bfloat16", "device": device},
        "adapter": {"rank": 8, "alpha": 16},
        "data": {
            "train": {"kind": "generator", "name": "arithmetic", "rows": 20, "settings": {"low": 0, "high": 9}},
            "eval": {"kind": "held_out", "rows": 4},
        },
        "verifiers": [{"name": "regex", "settings": {"must_match": ["[0-9A-Z]"]}}],
        "rollout": {"group_size": 4, "prompts_per_step": 4, "max_prompt_tokens": 200, "max_new_tokens": 16},
        "stages": [
            {"name": "warmup", "objective": "nsr-prerl", "steps": 1, "learning_rate": 1e-3},
            {"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-3},
        ],
        "evaluation": {"prompts": 2, "when": ["after"]},
        "output": {"checkpoint_every": 1},
        **changes,
    }
    return Recipe.model_validate(data)
