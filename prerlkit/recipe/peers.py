"""The names of recipe keys in TRL, PEFT, vLLM, verl and transformers: an error for such a key names ours.

Sources: TRL's `GRPOConfig` and `ModelConfig`, transformers' `TrainingArguments` and `BitsAndBytesConfig`, PEFT's
`LoraConfig`, vLLM's engine arguments, verl's `ppo_trainer.yaml` with its defaults; July 2026, verl January 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prerlkit.suggest import closest

_STAGE = "stages.NAME"
_OBJECTIVE = f"{_STAGE}.objective"

PEERS: Mapping[str, str] = {
    "model.id": "model_name_or_path",
    "model.revision": "model_revision",
    "model.dtype": "torch_dtype",
    "model.quantization": "load_in_4bit load_in_8bit",
    "adapter": "peft_config lora_config",
    "adapter.rank": "r lora_r lora_rank",
    "adapter.alpha": "lora_alpha",
    "adapter.targets": "target_modules lora_target_modules",
    "adapter.rslora": "use_rslora",
    "adapter.dora": "use_dora",
    "adapter.dropout": "lora_dropout",
    "adapter.init": "init_lora_weights",
    "data.train": "train_dataset dataset_name train_files",
    "data.eval": "eval_dataset val_files",
    "data.template_options": "chat_template_kwargs apply_chat_template_kwargs",
    "data.max_rows": "train_max_samples",
    "data.shuffle": "shuffle_dataset",
    "verifiers": "reward_funcs custom_reward_function",
    "verifiers.NAME.weight": "reward_weights",
    "rollout.engine": "use_vllm",
    "rollout.vllm.server": "vllm_server_base_url",
    "rollout.vllm.memory_share": "gpu_memory_utilization vllm_gpu_memory_utilization",
    "rollout.vllm.sleep": "enable_sleep_mode vllm_enable_sleep_mode free_cache_engine",
    "rollout.vllm.eager": "enforce_eager",
    "rollout.group_size": "num_generations n",
    "rollout.prompts_per_step": "train_batch_size",
    "rollout.refill": "filter_groups max_num_gen_batches dynamic_sample max_resample_times",
    "rollout.max_prompt_tokens": "max_prompt_length",
    "rollout.max_new_tokens": "max_completion_length max_response_length",
    "rollout.long_prompts": "filter_overlong_prompts",
    "rollout.max_sequences": "max_num_seqs",
    "rollout.importance_cap": "vllm_importance_sampling_clip_max vllm_importance_sampling_cap rollout_is_threshold",
    "optimizer.name": "optim",
    "optimizer.epsilon": "adam_epsilon",
    "optimizer.max_grad_norm": "grad_clip clip_grad",
    "optimizer.updates_per_rollout": "num_iterations steps_per_generation ppo_epochs ppo_mini_batch_size",
    "memory.microbatch_tokens": "ppo_max_token_len_per_gpu per_device_train_batch_size gradient_accumulation_steps",
    "memory.gradient_checkpointing": "activation_checkpointing enable_gradient_checkpointing",
    f"{_STAGE}.steps": "max_steps total_training_steps",
    f"{_STAGE}.learning_rate": "lr",
    f"{_STAGE}.schedule": "lr_scheduler_type",
    f"{_STAGE}.schedule.warmup_steps": "lr_warmup_steps",
    f"{_STAGE}.schedule.final": "min_lr_ratio",
    f"{_OBJECTIVE}.advantage": "scale_rewards adv_estimator",
    f"{_OBJECTIVE}.loss": "loss_mode importance_sampling_level",
    f"{_OBJECTIVE}.loss.low": "epsilon clip_ratio clip_ratio_low",
    f"{_OBJECTIVE}.loss.high": "epsilon_high clip_ratio_high",
    f"{_OBJECTIVE}.loss.dual": "delta clip_ratio_c",
    f"{_OBJECTIVE}.aggregate": "loss_type loss_agg_mode",
    f"{_OBJECTIVE}.kl.coefficient": "beta kl_loss_coef",
    f"{_OBJECTIVE}.kl.estimator": "kl_loss_type",
    f"{_OBJECTIVE}.entropy": "entropy_coef entropy_coeff",
    f"{_OBJECTIVE}.truncated": "mask_truncated_completions",
    "evaluation.every": "eval_steps test_freq",
    "evaluation.samples": "num_generations_eval",
    "output.folder": "output_dir default_local_dir",
    "output.checkpoint_every": "save_steps save_freq",
    "output.keep_checkpoints": "save_total_limit max_actor_ckpt_to_keep",
    "output.trackers": "report_to",
}
"""Our key and what peers call it. `NAME` is a stage's or a verifier's."""

DIFFERENT: Mapping[str, str] = {
    "num_iterations": "each of its updates takes a share of the prompts",
    "ppo_epochs": "each of its updates takes a share of the prompts",
    "ppo_mini_batch_size": "a number of updates, not of prompts",
    "per_device_train_batch_size": "a number of tokens, not of sequences",
    "gradient_accumulation_steps": "a step is split by tokens, and its gradients always add up",
    "filter_groups": "a number of further draws",
    "dynamic_sample": "a number of further draws",
    "max_num_gen_batches": "the first draw is not counted",
    "free_cache_engine": "the weights leave the device too",
}
"""Notes on keys of ours that differ from the peer's key in meaning."""

WITHOUT_EQUAL: Mapping[str, str] = {
    "generation_batch_size": "a step draws `rollout.prompts_per_step` prompts, `rollout.group_size` times each",
    "batch_size": "a step draws `rollout.prompts_per_step` prompts, `rollout.group_size` times each",
    "ppo_micro_batch_size_per_gpu": "micro-batches have `memory.microbatch_tokens` tokens",
    "per_device_eval_batch_size": "evaluations are sampled as rollouts are: `rollout.max_sequences`",
    "num_train_epochs": "a stage has a number of steps: `stages.NAME.steps`",
    "total_epochs": "a stage has a number of steps: `stages.NAME.steps`",
    "epochs": "a stage has a number of steps: `stages.NAME.steps`",
    "logging_steps": "every step is written down",
    "bf16": "`model.dtype` is bfloat16",
    "fp16": "`model.dtype` is float16",
    "max_seq_length": "prompts have `rollout.max_prompt_tokens`, completions `rollout.max_new_tokens`",
    "max_model_len": "prompts have `rollout.max_prompt_tokens`, completions `rollout.max_new_tokens`",
    "max_tokens": "completions have `rollout.max_new_tokens`",
    "max_length": "prompts have `rollout.max_prompt_tokens`, completions `rollout.max_new_tokens`",
    "fast_inference": "`rollout.engine` is vllm",
    "vllm_mode": "`rollout.engine` is vllm, and `rollout.vllm.server` names a server",
    "max_lora_rank": "the engine takes it from `adapter.rank`",
    "random_state": "`seed` is for all draws",
    "model_name": "`model.id` is a Hub id or a folder",
    "use_gradient_checkpointing": "`memory.gradient_checkpointing` is true or false",
    "bnb_4bit_quant_type": "`model.quantization` is nf4",
    "adam_beta1": "`optimizer.betas` has both",
    "adam_beta2": "`optimizer.betas` has both",
    "warmup_ratio": "`stages.NAME.schedule.warmup_steps` is a number of steps",
    "use_kl_loss": "`stages.NAME.objective.kl` is there or not",
    "norm_adv_by_std_in_grpo": "`stages.NAME.objective.advantage` has kinds with and without",
    "tensor_model_parallel_size": "each process has its own engine, on its own card",
}
"""Peers' keys that no single key of ours equals, and what there is here."""

VALUES: Mapping[str, str] = {
    **dict.fromkeys(("bf16", "torch.bfloat16"), "bfloat16"),
    **dict.fromkeys(("fp16", "half", "torch.float16"), "float16"),
    **dict.fromkeys(("fp32", "float", "torch.float32"), "float32"),
    **dict.fromkeys(("4bit", "int4", "fp4", "bnb_4bit"), "nf4"),
    **dict.fromkeys(("8bit", "bnb_8bit"), "int8"),
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf"), "adamw"),
    "adamw_bnb_8bit": "adamw_8bit",
    "paged_adamw": "paged_adamw_8bit",
    "ppo": "grpo",
    "dapo": "grpo",
}
"""What peers call a value, and ours. DAPO is `grpo` with another clip bound and refills (docs/algorithms.md)."""

OURS: Mapping[str, str] = {name: ours for ours, names in PEERS.items() for name in names.split()}


def translated(key: str) -> str:
    """Return a clause for an error about the unknown `key`, or "" where it is no peer's name.

    `` ; `num_generations` is called `rollout.group_size` here``
    """
    if key in WITHOUT_EQUAL:
        return f"; here {WITHOUT_EQUAL[key]}"
    if key not in OURS:
        return ""
    note = f" ({DIFFERENT[key]})" if key in DIFFERENT else ""
    return f"; `{key}` is called `{OURS[key]}` here{note}"


def meant_value(given: str, known: Sequence[str]) -> str:
    """Return `; did you mean "bfloat16"?` for a value that a peer calls `given`, or that is near; "" without one."""
    meant = VALUES.get(given.lower())
    meant = meant if meant in known else closest(given, known)
    return f'; did you mean "{meant}"?' if meant else ""
