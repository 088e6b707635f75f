"""Recipe settings of rollouts: how completions are sampled, and by which engine."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from prerlkit.plugins import FileName, is_file
from prerlkit.settings import Bool, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Settings

IMPORTANCE_CAP = 2.0
"""Yao et al. 2025."""
MAX_RANK = 512
"""The largest adapter rank that vLLM 0.32 has kernels for."""


def _address(value: str) -> str:
    """Return `http://host:8000`, without a slash at its end."""
    try:
        parts = urlsplit(value)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:  # a port that is no number, brackets that don't close
        right = False
    if not right or parts.query or parts.fragment:
        raise ValueError("expected an address such as http://host:8000")
    return value.rstrip("/")


def _one_or_several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _distinct(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not value:
        raise ValueError("needs at least one address; null is without a server")
    if twice := sorted({address for address in value if value.count(address) > 1}):
        raise ValueError(f"{', '.join(twice)} is there more than once")
    return value


Address = Annotated[str, AfterValidator(_address)]


ENGINES = {
    "hf": "prerlkit.engines.hf:HfRollouts",
    "transformers": "prerlkit.engines.continuous:TransformersRollouts",
    "vllm": "prerlkit.engines.vllm:VllmRollouts",
}
"""The class of each engine, a `prerlkit.engines.engine.Engine`."""


def _known_engine(value: Any) -> Any:
    if isinstance(value, str) and (value in ENGINES or is_file(value)):
        return value
    words = " or ".join(f"'{name}'" for name in ENGINES)
    raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": words})


EngineName = Annotated[
    str, BeforeValidator(_known_engine, json_schema_input_type=Literal["hf", "transformers", "vllm"] | FileName)
]


class Vllm(Settings):
    """The vLLM engine: started by the run next to the training, or one or several running `vllm serve`."""

    server: Annotated[
        tuple[Address, ...] | None,
        BeforeValidator(_one_or_several, json_schema_input_type=Address | tuple[Address, ...] | None),
        AfterValidator(_distinct),
    ] = None
    """Address of a running `vllm serve` (`http://host:8000`), or a list of them: the rollouts are shared out. null: the
    run starts its own engine on its own device. A key that servers want (`--api-key`) is read from VLLM_API_KEY. TRL:
    `vllm_server_base_url`."""
    shared_folder: str | None = None
    """With a server: a folder that this machine and all servers' see under this path, for handing over adapters. null:
    the cache folder."""
    memory_share: Literal["auto"] | Fraction = "auto"
    """Share of the device's memory for the engine (weights, adapter, KV cache). auto: computed from the model and from
    max_sequences sequences of full length. vLLM: `gpu_memory_utilization`; TRL: `vllm_gpu_memory_utilization`."""
    sleep: Literal["auto"] | Bool = "auto"
    """Whether the engine gives its memory back while the policy trains. Its weights wait in host memory (level 1): they
    are needed again in a moment. auto: wherever the device has sleep (CUDA). vLLM: `enable_sleep_mode`; TRL:
    `vllm_enable_sleep_mode`; verl: `free_cache_engine`."""
    eager: Literal["auto"] | Bool = "auto"
    """No compilation and no CUDA graphs: starts sooner, decodes slower. auto: on a CPU only. vLLM: `enforce_eager`."""
    quantization: Literal["none", "fp8", "fp8_per_channel"] = "none"
    """Of the engine's copy, made when it is loaded: 8 bits for each weight of a linear layer, with one scale for a
    tensor or for each output channel. Half of the copy, and faster from compute capability 8.9 (RTX 40) on; importance
    weights carry the difference. vLLM: `quantization` (`fp8_per_tensor`, `fp8_per_channel`)."""
    base: Literal["same", "original"] = "same"
    """With a quantized model. same: the engine serves a 16-bit copy of the *quantized* weights, so that it samples from
    the model that learns. original: the 16-bit weights as published; importance weights then carry the difference."""


class Replay(Settings):
    """Groups of earlier steps that a step trains on again, with truncated importance weights."""

    share: Annotated[float, Strict(), Field(gt=0, lt=1)]
    """Of a step's groups; they are then not sampled. Each group with signal is replayed once at most, the newest first.
    Where too few are there, as at a stage's start, the step samples the rest."""
    max_age: PositiveInt = 4
    """Steps after which a group is no longer replayed."""


class Difficulty(Settings):
    """Draw prompts by their pass rate in this stage, that of the last group that was sampled for them."""

    at_least: Fraction = 0.0
    """Lowest pass rate of a prompt that is drawn."""
    at_most: Fraction = 1.0
    """Highest pass rate of a prompt that is drawn."""
    others: Fraction = 0.1
    """Probability with which a prompt outside of the range is drawn all the same. Above 0, so that a rate is measured
    again. Prompts without a rate are always drawn."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_least > self.at_most:
            raise ValueError("at_least is above at_most: no pass rate is in this range")
        if (self.at_least, self.at_most) == (0.0, 1.0):
            raise ValueError("every pass rate is from 0 to 1: narrow the range, or leave difficulty out")
        return self


def _share(value: Any) -> Any:
    return {"share": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Rollout(Settings):
    """How completions are sampled from the current policy, always with the prompt."""

    engine: EngineName = "hf"
    """hf: the model in training samples itself, nothing to install; made for CPUs. transformers: the same by its
    continuous batching (paged cache, CUDA graphs), for cards on which vLLM's copy doesn't fit. vllm: vLLM
    (`pip install 'prerlkit[vllm]'`). TRL: `use_vllm`."""
    engine_settings: dict[str, Any] = Field(default_factory=dict)
    """Of an engine from a file, checked by its own class."""
    vllm: Vllm = Vllm()
    """How vLLM is run; without effect with `engine: hf`."""
    group_size: PositiveInt = 8
    """G: completions per prompt. 8: the paper. TRL: `num_generations`; verl: `rollout.n`."""
    prompts_per_step: PositiveInt = 8
    """P: prompts in one step. 128 in the paper, on eight GPUs. verl: `train_batch_size`."""
    refill: NonNegativeInt = 0
    """Dynamic sampling (DAPO, arXiv 2503.14476): further draws at most in a step, each of as many prompts as groups
    with signal are missing. 0: none, groups without signal stay in the step and are skipped in training. verl:
    `filter_groups`, whose `max_num_gen_batches` counts the first draw too; ms-swift: `max_resample_times` of its
    `dynamic_sample`."""
    replay: Annotated[Replay | None, BeforeValidator(_share, json_schema_input_type=float | Replay | None)] = None
    """Train on a share of groups from earlier steps of the same stage (off-policy; after ReMix, arXiv 2507.06892).
    null: every group is sampled for its step. A number is short for `{share: …}`."""
    difficulty: Difficulty | None = None
    """Pass over prompts that were too easy or too hard when they were sampled last. null: all prompts in turn. By an
    earlier measurement: `data.pass_rate`. Prime-RL: its pools of easy and hard prompts."""
    max_prompt_tokens: PositiveInt = 1024
    """A longer prompt is an error, or dropped; see long_prompts. verl: `max_prompt_length`."""
    max_new_tokens: PositiveInt = 1024
    """Completions are cut here. TRL: `max_completion_length`; verl: `max_response_length`."""
    long_prompts: Literal["error", "drop"] = "error"
    """What to do with a prompt over max_prompt_tokens. drop says how many. verl: `filter_overlong_prompts`."""
    temperature: PositiveFloat = 1.0
    """Log-probs are taken at this temperature too, so that the policy that learns is the policy that samples."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Below 1 samples come from a cut distribution, the log-probs don't: the gradient is then biased. 1: the paper."""
    top_k: NonNegativeInt = 0
    """0: off. The same bias as top_p when on."""
    max_sequences: PositiveInt = 64
    """How many completions are decoded at once (by each server, if there are several): more is faster and takes more
    memory for the cache. vLLM: `max_num_seqs`."""
    importance_cap: Literal["auto"] | PositiveFloat | None = "auto"
    """Truncated importance sampling: each token's loss is multiplied by min(π/μ, cap), π the policy that learns and μ
    the engine that sampled. auto: 2 (Yao et al. 2025) with vllm and transformers and with `replay`, null (off) with hf,
    where π and μ are one model; 2 with hf too for NF4 on CUDA, where bitsandbytes computes few rows by another kernel.
    TRL: `vllm_importance_sampling_clip_max`, before `vllm_importance_sampling_cap`; verl: `rollout_is_threshold`."""

    @property
    def importance(self) -> float | None:
        """The cap that is used; None is off."""
        if self.importance_cap == "auto":
            return None if self.engine == "hf" and self.replay is None else IMPORTANCE_CAP
        return self.importance_cap

    @property
    def replayed(self) -> int:
        """Groups of a step that are replayed where there are as many."""
        return 0 if self.replay is None else round(self.replay.share * self.prompts_per_step)

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if self.replay is None:
            return self
        if self.importance_cap is None:
            raise ValueError("replay needs importance weights: an earlier policy sampled; leave importance_cap out")
        if not 0 < self.replayed < self.prompts_per_step:
            raise ValueError(
                f"replay: {self.replay.share:g} of {self.prompts_per_step} groups are {self.replayed}; a step needs at "
                "least one that is replayed and one that is sampled"
            )
        return self
