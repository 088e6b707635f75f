"""The names of recipe keys in TRL, PEFT, vLLM, verl and transformers: an error for such a key names ours.

Sources: TRL's `GRPOConfig` and `ModelConfig`, transformers' `TrainingArguments` and `BitsAndBytesConfig`, PEFT's
`LoraConfig`, vLLM's engine arguments, verl's `ppo_trainer.yaml` with its defaults; July 2026, verl January 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

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

OURS: Mapping[str, str] = {name: ours for ours, names in PEERS.items() for name in names.split()}


def translated(key: str) -> str:
    """Return a clause for an error about the unknown `key`, or "" where it is no peer's name.

    `` ; `num_generations` is called `rollout.group_size` here``
    """
    if key not in OURS:
        return ""
    note = f" ({DIFFERENT[key]})" if key in DIFFERENT else ""
    return f"; `{key}` is called `{OURS[key]}` here{note}"
