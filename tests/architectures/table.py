"""Tiny random models of the families that people train, built from the configurations of the installed transformers.

Each has 10k to 300k parameters. `write` puts one into a folder in the layout in which such models are published:
that is what `save_pretrained` does, which reverts the conversions that transformers makes when it loads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

VOCABULARY = 264

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": None,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MLA = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12,
    "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
}  # fmt: skip
LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
}  # fmt: skip
HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
MAMBA = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_d_conv": 4,
    "mamba_expand": 2, "mamba_chunk_size": 8, "mamba_d_ssm": 64,
}  # fmt: skip
VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32}
SIGLIP = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
GEMMA4 = {
    "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "global_head_dim": 16,
    "final_logit_softcapping": 2.0, "pad_token_id": 0,  # 30 as published: tiny models have tiny logits
}  # fmt: skip
GEMMA4_VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "position_embedding_size": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        name: of the family, as people call it; also of the row.
        model_type: of transformers.
        config: settings on top of COMMON; a value of None leaves a common one out.
        text: settings of `text_config`, for a model of text and vision; COMMON is then in these.
        architecture: the class to build; the causal LM of the configuration where empty.
        always: CI runs it in every part.
        mxfp4: its experts are written in MXFP4, as gpt-oss's are.
    """

    name: str
    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] | None = None
    architecture: str = ""
    always: bool = False
    mxfp4: bool = False


def _gpt2(**more: Any) -> dict[str, Any]:
    plain = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "n_inner": 48}
    return {**plain, **more}


ROWS = (
    Row("Llama 3", "llama", always=True),
    Row("Llama 3.1, scaled positions", "llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}),
    Row("Llama, dynamic NTK", "llama", {"max_position_embeddings": 16, "rope_parameters": {
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}}),
    Row("Qwen2.5", "qwen2"),
    Row("Qwen2.5, YaRN", "qwen2", {"rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}}),
    Row("Qwen3", "qwen3", always=True),
    Row("Qwen2-MoE", "qwen2_moe", {**MOE, "shared_expert_intermediate_size": 24}),
    Row("Qwen3-MoE", "qwen3_moe", MOE, always=True),
    Row("Qwen3-Next", "qwen3_next", {**MOE, **LINEAR, **HYBRID, "shared_expert_intermediate_size": 24}),
    Row("Qwen3.5, text", "qwen3_5_text", {**LINEAR, **HYBRID}),
    Row("Qwen3.5, with vision", "qwen3_5", {"vision_config": VISION}, {**LINEAR, **HYBRID},
        "Qwen3_5ForConditionalGeneration", always=True),
    Row("Qwen3.5-MoE, with vision", "qwen3_5_moe", {"vision_config": VISION},
        {**MOE, **LINEAR, **HYBRID, "shared_expert_intermediate_size": 24}, "Qwen3_5MoeForConditionalGeneration"),
    Row("Qwen3-VL", "qwen3_vl", {"vision_config": {**VISION, "deepstack_visual_indexes": [0]}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1],
                             "mrope_interleaved": True}}, "Qwen3VLForConditionalGeneration"),
    Row("Qwen2.5-VL", "qwen2_5_vl", {"vision_config": {**VISION, "fullatt_block_indexes": [0]}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}},
        "Qwen2_5_VLForConditionalGeneration"),
    Row("Gemma 2", "gemma2", {"query_pre_attn_scalar": 8, "sliding_window": 8}),
    Row("Gemma 3, text", "gemma3_text", {"query_pre_attn_scalar": 8, "sliding_window": 8,
                                         "layer_types": ["sliding_attention", "full_attention"]}, always=True),
    Row("Gemma 3, with vision", "gemma3", {"vision_config": SIGLIP, "mm_tokens_per_image": 1},
        {"query_pre_attn_scalar": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
        "Gemma3ForConditionalGeneration"),
    Row("Gemma 3n, text", "gemma3n_text", {
        "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8, "laurel_rank": 4,
        "num_kv_shared_layers": 0, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0, 0.0]}),
    Row("Gemma 4, text", "gemma4_text", {
        "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "global_head_dim": 8,
        "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}),
    Row("Gemma 4 E2B, with vision", "gemma4", {"vision_config": GEMMA4_VISION}, {
        **GEMMA4, "num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2,
        "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True}, "Gemma4ForConditionalGeneration"),
    Row("Gemma 4 31B, with vision", "gemma4", {"vision_config": GEMMA4_VISION}, {
        **GEMMA4, "hidden_size_per_layer_input": 0, "attention_k_eq_v": True}, "Gemma4ForConditionalGeneration"),
    Row("Gemma 4 26B-A4B, with vision", "gemma4", {"vision_config": GEMMA4_VISION}, {
        **GEMMA4, "hidden_size_per_layer_input": 0, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2,
        "moe_intermediate_size": 24}, "Gemma4ForConditionalGeneration"),
    Row("gpt-oss", "gpt_oss", {**MOE, "sliding_window": 8, "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}}),
    Row("gpt-oss, MXFP4 as published", "gpt_oss", {**MOE, "intermediate_size": 32, "sliding_window": 8}, mxfp4=True),
    Row("LFM2", "lfm2", {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8, "conv_L_cache": 3}),
    Row("LFM2-MoE", "lfm2_moe", {**MOE, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3,
                                 "num_dense_layers": 1}),
    Row("Granite", "granite", {"logits_scaling": 4.0}),
    Row("Granite-MoE", "granitemoe", MOE),
    Row("Granite 4 hybrid", "granitemoehybrid", {**MOE, **MAMBA, "layer_types": ["mamba", "attention"],
                                                 "shared_intermediate_size": 32, "mamba_d_head": 16}),
    Row("SmolLM3", "smollm3"),
    Row("OLMo 2", "olmo2"),
    Row("OLMo 3", "olmo3", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
    Row("OLMoE", "olmoe", MOE),
    Row("Mistral", "mistral", {"sliding_window": 8}),
    Row("Ministral 3", "ministral3", {"rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
        "llama_4_scaling_beta": 0.1}}),
    Row("Mixtral", "mixtral", MOE),
    Row("DeepSeek-V2", "deepseek_v2", {**MLA, "head_dim": 8}),
    Row("DeepSeek-V3", "deepseek_v3", MLA, always=True),
    Row("GLM-4", "glm4"),
    Row("GLM-4.5 MoE", "glm4_moe", {**MOE, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
                                    "first_k_dense_replace": 1}),
    Row("GLM-4.7 Flash", "glm4_moe_lite", MLA),
    Row("Llama 4, text", "llama4_text", {**MOE, "intermediate_size_mlp": 48, "interleave_moe_layer_step": 1,
                                         "no_rope_layers": [1, 0], "attention_chunk_size": 64}),
    Row("MiniMax-M2", "minimax_m2", MOE),
    Row("ERNIE 4.5", "ernie4_5"),
    Row("ERNIE 4.5 MoE", "ernie4_5_moe", {**MOE, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1}),
    Row("HunYuan dense", "hunyuan_v1_dense"),
    Row("Seed-OSS", "seed_oss"),
    Row("EXAONE 4", "exaone4", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
    Row("Phi-3", "phi3", {"pad_token_id": 0}),
    Row("Phi-3, LongRoPE", "phi3", {
        "pad_token_id": 0, "original_max_position_embeddings": 16, "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
            "original_max_position_embeddings": 16}}),
    Row("Phi", "phi"),
    Row("Phi-3.5 MoE", "phimoe", {**MOE}),
    Row("StableLM", "stablelm"),
    Row("StarCoder2", "starcoder2"),
    Row("Cohere 2", "cohere2", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"],
                                "logit_scale": 0.5}),
    Row("Nemotron", "nemotron"),
    Row("Nemotron-H", "nemotron_h", {
        "layers_block_type": ["mamba", "attention"], "mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8,
        "n_groups": 1, "conv_kernel": 4, "chunk_size": 8, "num_hidden_layers": None}),
    Row("Falcon-H1", "falcon_h1", MAMBA),
    Row("Bamba", "bamba", {**MAMBA, "attn_layer_indices": [1]}),
    Row("Jamba", "jamba", {**MOE, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
                           "expert_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4,
                           "use_mamba_kernels": False}),
    Row("Mamba", "mamba", {"state_size": 8, "use_mambapy": False}),
    Row("Mamba 2", "mamba2", {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}),
    Row("RWKV", "rwkv", {"attention_hidden_size": 32, "context_length": 512}),
    Row("GPT-2", "gpt2", _gpt2()),
    Row("GPT-NeoX", "gpt_neox"),
    Row("GPT-J", "gptj", {**_gpt2(), "rotary_dim": 4}),
    Row("GPT-BigCode", "gpt_bigcode", _gpt2()),
    Row("BLOOM", "bloom", {"n_layer": 2, "n_head": 4}),
    Row("MPT", "mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512, "expansion_ratio": 2}),
    Row("Falcon", "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "head_dim": None}),
    Row("Falcon, ALiBi", "falcon", {"alibi": True, "head_dim": None}),
    Row("OPT", "opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    Row("ModernBERT decoder", "modernbert-decoder", {"local_attention": 16, "pad_token_id": 0, "bos_token_id": 1}),
    Row("Helium", "helium"),
    Row("Apertus", "apertus"),
    Row("Arcee", "arcee"),
    Row("dots.llm1", "dots1", {**MOE, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
                               "first_k_dense_replace": 1, "sliding_window": 8}),
    Row("DiffLlama", "diffllama"),
    Row("RecurrentGemma", "recurrent_gemma", {"lru_width": 32, "attention_window_size": 16,
                                              "block_types": ["recurrent", "attention"]}),
    Row("Kimi Linear", "kimi_linear", {**MLA, "layer_types": ["linear_attention", "full_attention"]}),
)  # fmt: skip

Build = Callable[[Row], Any]


def configuration(row: Row) -> Any:
    """Return the configuration of a row."""
    from transformers import AutoConfig

    if row.text is None:
        settings = {**COMMON, **row.config}
    else:
        settings = {**row.config, "text_config": _text(row), "tie_word_embeddings": False}
    left_out = {key for key, value in row.config.items() if value is None}
    return AutoConfig.for_model(row.model_type, **{k: v for k, v in settings.items() if k not in left_out})


def _text(row: Row) -> dict[str, Any]:
    return {**COMMON, **(row.text or {})}


def build(row: Row, dtype: torch.dtype = torch.float32) -> Any:
    """Return the row's model, its weights random and large enough that every part of it counts."""
    import transformers

    torch.manual_seed(0)
    config = configuration(row)
    if row.architecture:
        model = getattr(transformers, row.architecture)(config)
    else:
        model = transformers.AutoModelForCausalLM.from_config(config)
    return model.to(dtype).eval()


def write(row: Row, folder: Path, tokenizer: Any, dtype: torch.dtype = torch.float32) -> None:
    """Write the row's model, as it would be published, and a tokenizer into `folder`."""
    build(row, dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if row.mxfp4:
        _pack_experts(folder)


def _pack_experts(folder: Path) -> None:
    """Replace experts by random ones in MXFP4: bytes of two 4-bit numbers, 16 with a scale of 2^-3."""
    generator, written = torch.Generator().manual_seed(0), {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            written[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        shape = (experts, outputs, inputs // 32)
        written[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=generator)
        written[f"{name}_scales"] = torch.full(shape, 127 - 3, dtype=torch.uint8)
    save_file(written, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    whole = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": whole}
    (folder / "config.json").write_text(json.dumps(config))
