"""The frozen base model: loaded in 16 bit, int8 or NF4, made deterministic, its head checked once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.attention import use_own_attention
from prerlkit.policy.cards import unusable_card
from prerlkit.policy.causal import causal_class
from prerlkit.policy.frozen_linear import use_own_linears
from prerlkit.policy.layers import use_right_decoder
from prerlkit.policy.norms import use_own_norms
from prerlkit.policy.shard import shard_base
from prerlkit.policy.tokens import Tokens
from prerlkit.recipe.model import Model
from prerlkit.rollout.leftovers import leftover_note

HEAD_TOLERANCE = 1e-3
"""Relative difference under which head(decoder(x)) counts as the model's own logits."""
UNUSABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""What transformers' classes raise for a config of wrong types, or of sizes that don't fit together."""


def pick_device(wanted: str) -> torch.device:
    """Return the device of `model.device`.

    Raises:
        UsageError: CUDA is asked for and absent, or the machine has a card that torch can't use.
    """
    if wanted != "cpu" and (problem := unusable_card()):
        raise UsageError(
            f"model.device is {wanted}, and this machine's card can't be used: {problem[0]}.",
            f"{problem[1]}. To compute on the CPU all the same: --set model.device=cpu.",
        )
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "model.device is cuda, but torch sees no CUDA device.",
            "Use device: auto, or install a CUDA build of torch and check nvidia-smi.",
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())  # with several processes, each has its own


def load_base(path: str, model: Model, device: torch.device, *, shard: bool = False) -> Any:
    """Load the causal LM in `path`, frozen, in eval mode, every dropout at 0.

    With `shard` its layers are shared out over all processes, from the host's memory (`shard.shard_base`).

    Dropout is set to 0 rather than relied on to be off: gradient checkpointing needs train mode, and sampler and
    trainer must be the same function.
    """
    from transformers import AutoConfig

    arguments: dict[str, Any] = {
        "dtype": getattr(torch, model.dtype),
        "device_map": {"": "cpu" if shard else device},
    }
    if model.quantization != "none":
        arguments["quantization_config"] = quantization_config(model)
    try:
        arguments["config"] = AutoConfig.from_pretrained(path, trust_remote_code=model.trust_remote_code)
        disable_dropout(arguments["config"])
        if model.quantization == "none" and _is_mxfp4(arguments["config"]):
            from transformers import Mxfp4Config

            arguments["quantization_config"] = Mxfp4Config(dequantize=True)  # its kernels have no gradient
        base = causal_class(arguments["config"]).from_pretrained(
            path, trust_remote_code=model.trust_remote_code, **arguments
        )
    except torch.OutOfMemoryError as error:
        raise PrerlkitError(
            f"The model in {path} does not fit on {device}.",
            f"{leftover_note()}Set model.quantization: nf4 (a quarter of the memory), close what else uses the card, "
            "or take a smaller model.",
        ) from error
    except (*UNUSABLE, SafetensorError) as error:
        raise PrerlkitError(
            f"The model in {path} could not be loaded: {first_line(error)}",
            "It must be a causal language model that transformers knows, with safetensors weights.",
        ) from error
    settle(base, device.type)
    if shard:
        shard_base(base, device)
    elif model.quantization == "none":  # the plan counts no copies of a quantized base's other layers
        use_own_linears(base)
    return base


def first_line(error: Exception) -> str:
    """Return the first line of an error, or its type where it has no text."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _is_mxfp4(config: Any) -> bool:
    """Whether a model is published with MXFP4 weights (gpt-oss)."""
    published = config.to_dict().get("quantization_config") or {}
    return bool(published.get("quant_method") == "mxfp4")


def settle(base: Any, device_type: str) -> None:
    """Freeze a base that will compute on `device_type`, and make it the same function in training and in rollouts."""
    use_right_decoder(base)
    use_own_attention(base, device_type)
    if device_type == "cpu":
        use_own_norms(base)
    base.requires_grad_(False)
    base.eval()
    for module in base.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if type(module).__name__ == "Linear4bit":
            # In eval mode on a CPU with AVX512-BF16, bitsandbytes 0.50 repacks the weight for good, rounds its scales
            # to bfloat16, and from then on computes without autograd: training after a rollout would get wrong
            # gradients in silence, and sampler and trainer would differ.
            module.support_avx512bf16_for_cpu = False


def disable_dropout(config: Any) -> None:
    """Set every dropout of a transformers config to 0."""
    for key in list(config.to_dict()):
        if key.endswith(("dropout", "_pdrop")) and isinstance(getattr(config, key), float):
            setattr(config, key, 0.0)


def quantization_config(model: Model) -> Any:
    """Return the quantization for bitsandbytes, NF4 or int8. Embeddings and head stay in `dtype` in each case."""
    from transformers import BitsAndBytesConfig

    if model.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, model.dtype),
    )


def quantized_layers(base: nn.Module) -> list[str]:
    """Return names of the layers whose weights are 4-bit or 8-bit."""
    return [name for name, module in base.named_modules() if type(module).__name__ in ("Linear4bit", "Linear8bitLt")]


@torch.no_grad()
def head_is_plain(base: Any, token_id: int) -> bool:
    """Return whether head(decoder(x)) equals the model's logits; logits can then be made chunk by chunk.

    False for models that cap or scale logits after the head (Gemma 2, Cohere, Granite): they get the plain path, which
    holds [B, T, V]. Measured on the model itself rather than read from a list of names.
    """
    tokens_BT = torch.full((1, 4), token_id, dtype=torch.long, device=base.device)
    before = _versions(base)
    own_BTV = base(input_ids=tokens_BT, use_cache=False).logits
    if _versions(base) != before:
        raise UsageError(
            "This model writes into its own weights while it computes, so that what is trained on it could not be "
            "published.",
            "Take another model.",
        )
    if not bool(own_BTV.isfinite().all()):
        raise PrerlkitError(
            f"The model's logits are not numbers (NaN or infinite), in {base.dtype}.",
            "Its files may be damaged, or the dtype too small for it: try model.dtype: float32 or bfloat16.",
        )
    ours_BTV = base.get_output_embeddings()(base.get_decoder()(input_ids=tokens_BT, use_cache=False)[0])
    scale = own_BTV.float().abs().max().clamp(min=1e-6)
    return bool((own_BTV.float() - ours_BTV.float()).abs().max() <= HEAD_TOLERANCE * scale)


def _versions(base: nn.Module) -> int:
    """Return how often the model's weights were written in place, by torch's counters."""
    return sum(parameter._version for parameter in base.parameters())


def check_vocabulary(base: Any, tokens: Tokens, texts: Iterable[Sequence[int]]) -> None:
    """Raise UsageError for a token in use that the model has no embedding of."""
    rows = base.get_input_embeddings().weight.shape[0]
    used = {*tokens.end_ids, *([tokens.start.id] if tokens.start_token else [])}
    # Only a tokenizer that is larger than the embedding is a reason to look at each text: there may be millions.
    larger = max(tokens.tokenizer.get_vocab().values(), default=0) >= rows
    largest = max((*used, *map(max, texts if larger else ())))
    if largest >= rows:
        raise UsageError(
            f"The tokenizer is larger than the model's embedding: token {largest} "
            f"({tokens.tokenizer.convert_ids_to_tokens(largest)!r}) is in use, and the embedding has {rows} rows.",
            "Tokenizer and weights are of different models, or tokens were added without resizing the embedding: use "
            "the tokenizer that came with the weights.",
        )
