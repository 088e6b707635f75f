"""A merged model as a GGUF file for llama.cpp, tokenizer included; loaded back and checked.

The `gguf` library has the names of tensors and keys. This module adds llama's order of the rows of q and k, and finds
llama.cpp's pre-tokenizer for a tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from torch import Tensor

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.gguf import dense, quiet_transformers
from prerlkit.policy.tokens import load_tokenizer
from prerlkit.policy.weights import Weights
from prerlkit.publish import streamed
from prerlkit.publish.proof import FLOOR, PROBES, rms
from prerlkit.publish.streamed import StreamedModel

Kind = Literal["bf16", "q8_0"]

_TYPES = {"bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}
_FILE_TYPES = {"bf16": gguf.LlamaFileType.MOSTLY_BF16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
_ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}
_BLOCK = 32
"""Weights in a block of q8_0; a row whose length is no multiple of it stays in bf16."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_PRE_BY_SPLIT = {_SPLIT.replace("DIGITS", ""): "qwen2", _SPLIT.replace("DIGITS", "{1,3}"): "llama-bpe"}


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A written GGUF file. Root mean squares of float32 logits on the probe texts.

    Attributes:
        error: the file, loaded by transformers, against the merged weights rounded as the file's type rounds them.
        difference: the file against the merged model: the loss by the type.
    """

    path: Path
    kind: Kind
    error: float
    difference: float

    def to_json(self) -> dict[str, Any]:
        return {"file": self.path.name, "type": self.kind, "error": self.error, "difference": self.difference}


def size_of(parameters: int, kind: Kind) -> int:
    """Return the approximate bytes of the file."""
    return parameters * 2 if kind == "bf16" else parameters * 34 // 32


def check_writable(folder: Path) -> None:
    """Raise UsageError when the model in `folder` can't become GGUF here."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder))
    if config.model_type not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise UsageError(
            f"--gguf: a {config.model_type} model can't be written as GGUF here (known: {known}).",
            "Leave --gguf out, and convert the merged folder with llama.cpp's convert_hf_to_gguf.py.",
        )
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        raise UsageError(f"--gguf: scaled positions ({rope['rope_type']}) are not supported.", "Leave --gguf out.")
    settings = config.to_dict()
    if settings.get("use_sliding_window") or (config.model_type == "llama" and settings.get("attention_bias")):
        raise UsageError("--gguf: a sliding window or biases in a llama model are not supported.", "Leave --gguf out.")
    _pre_tokenizer(_backend(load_tokenizer(str(folder))))


def write_gguf(folder: Path, name: str, kind: Kind, tokens: tuple[Tensor, Tensor]) -> GgufFile:
    """Write the model in `folder` into a GGUF file there, and compare the model that transformers loads from it.

    Args:
        name: of the model; it names the file too.
        tokens: ids and mask of the probe texts, [B, T] each.

    Raises:
        PrerlkitError: the file, loaded, is another model or another tokenizer.
    """
    from transformers import AutoConfig

    config, weights = AutoConfig.from_pretrained(str(folder)), Weights(folder)
    path = folder / f"{name}-{kind}.gguf"
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[_ARCHITECTURES[config.model_type]])
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[kind])
    if kind == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_config(writer, config)
    _add_tokenizer(writer, load_tokenizer(str(folder)), config.vocab_size)
    _add_tensors(writer, config, weights, kind)
    return _read_back(path, kind, tokens)


def _add_config(writer: gguf.GGUFWriter, config: Any) -> None:
    head = config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    """Write a byte-level BPE: words, types, merges, special tokens, chat template."""
    backend = _backend(tokenizer)
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    added = {token["id"]: token["special"] for token in backend["added_tokens"]}
    kinds = [
        (gguf.TokenType.CONTROL if added[i] else gguf.TokenType.USER_DEFINED)
        if i in added
        else (gguf.TokenType.NORMAL if i in words else gguf.TokenType.UNUSED)
        for i in range(size)
    ]
    merges = backend["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(backend))
    writer.add_token_list([words.get(i, f"[PAD{i}]") for i in range(size)])
    writer.add_token_types(kinds)
    if merges:
        writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
    ):
        if number is not None:
            add(number)
    opens = tokenizer("x")["input_ids"][:1]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and opens == [tokenizer.bos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _add_tensors(writer: gguf.GGUFWriter, config: Any, weights: Weights, kind: Kind) -> None:
    """Plan all tensors, then write them one by one."""
    names = gguf.get_tensor_name_map(_ARCHITECTURES[config.model_type], config.num_hidden_layers)
    order = []
    for name in weights.names:
        if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise PrerlkitError(f"--gguf: GGUF has no name for the tensor {name}.", "Leave --gguf out.")
        order.append((name, target))
        shape = tuple(weights(name).shape)
        kind_here = _type_of(shape, kind)
        stored = gguf.quant_shape_to_byte_shape(shape, kind_here) if len(shape) > 1 else shape
        dtype = np.dtype(np.float32) if len(shape) == 1 else np.dtype(np.uint8)
        writer.add_tensor_info(target, stored, dtype, int(np.prod(stored)) * dtype.itemsize, kind_here)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, _ in order:
        values = weights(name).float().numpy()
        if config.model_type == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = _interleaved(values, heads)
        data = gguf.quantize(values, _type_of(values.shape, kind)) if values.ndim > 1 else values
        writer.write_tensor_data(np.ascontiguousarray(data))
    writer.close()


def _type_of(shape: tuple[int, ...], kind: Kind) -> gguf.GGMLQuantizationType:
    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    return _TYPES["bf16"] if shape[-1] % _BLOCK else _TYPES[kind]


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder rows: llama.cpp rotates neighbouring rows of a head, transformers its first and second half. [out, in]"""
    rows = weight.shape[0] // heads
    return weight.reshape(heads, 2, rows // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _read_back(path: Path, kind: Kind, tokens: tuple[Tensor, Tensor]) -> GgufFile:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = path.parent
    model = StreamedModel(folder)
    merged = model.logits(tokens)

    def rounded(name: str) -> Tensor:
        values = model.read(name).float().numpy()
        if values.ndim == 1:
            return torch.from_numpy(values)
        here = _type_of(values.shape, kind)
        return torch.from_numpy(gguf.dequantize(gguf.quantize(values, here), here))

    expected = model.logits(tokens, rounded)
    try:
        with quiet_transformers():
            loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=path.name, dtype=torch.float32, **dense())
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
    except (ValueError, LookupError, RuntimeError, TypeError, OSError) as error:
        raise PrerlkitError(f"Refused: transformers can't load the GGUF file that was written: {error}") from error
    with torch.no_grad():
        found = streamed.logits(loaded.eval(), *tokens)
    away, difference = rms(found - expected), rms(found - merged)
    if not away <= FLOOR * rms(merged):  # also when it is not a number
        raise PrerlkitError(
            f"Refused, and nothing was written: loaded back, the GGUF file is {away:.2g} from the merged model in "
            f"{kind} (logits are {rms(merged):.2g}).",
            "This is a bug: please report the model. Without --gguf the merge itself is fine.",
        )
    own = load_tokenizer(str(folder))
    wrong = [text for text in PROBES if _ids(tokenizer, text) != _ids(own, text)]
    if wrong:
        raise PrerlkitError(
            f"Refused, and nothing was written: the GGUF file's tokenizer, loaded back, cuts {wrong[0]!r} otherwise.",
            "Leave --gguf out, and convert the merged folder with llama.cpp's convert_hf_to_gguf.py.",
        )
    return GgufFile(path, kind, away, difference)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _backend(tokenizer: Any) -> Mapping[str, Any]:
    """Return the tokenizer as the `tokenizers` library holds it."""
    content: Mapping[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return content


def _pre_tokenizer(backend: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of this tokenizer's pre-tokenizer. Raise UsageError when none is known."""
    pre = backend.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    kinds = [step.get("type") for step in steps]
    by_bytes = backend["model"]["type"] == "BPE" and kinds[-1:] == ["ByteLevel"]
    if by_bytes and kinds == ["ByteLevel"]:
        return "gpt-2"
    if by_bytes and kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    if by_bytes and kinds == ["Split", "ByteLevel"]:
        split = steps[0]["pattern"].get("Regex")
        if split in _PRE_BY_SPLIT:
            return _PRE_BY_SPLIT[split]
    raise UsageError(
        f"--gguf: this tokenizer ({backend['model']['type']}, cut by {kinds}) is none that is known here to llama.cpp.",
        "Leave --gguf out, and convert the merged folder with llama.cpp's convert_hf_to_gguf.py.",
    )
