"""A tiny random Llama with a byte-level tokenizer, so that the whole way through runs in seconds."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch: as many threads as processes would disturb each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

FAST = (
    "audit/test_rows.py",
    "compare/test_comparison.py",
    "data",
    "docs/test_ablations.py",
    "docs/test_docs.py",
    "evaluation/test_estimates.py",
    "evaluation/test_repetitions.py",
    "evaluation/test_request.py",
    "evaluation/test_statistics.py",
    "metrics",
    "objective",
    "page",
    "policy/test_adapters.py",
    "policy/test_attention.py",
    "policy/test_identity.py",
    "policy/test_logprobs.py",
    "policy/test_tokens.py",
    "probes",
    "recipe/test_dtype.py",
    "recipe/test_load.py",
    "recipe/test_packaged.py",
    "recipe/test_peers.py",
    "report/test_layers.py",
    "report/test_learned.py",
    "report/test_report.py",
    "rollout/test_canary.py",
    "rollout/test_generate.py",
    "rollout/test_restart.py",
    "rollout/test_sampling.py",
    "rollout/test_vllm.py",
    "runs/test_checkpoint.py",
    "runs/test_run.py",
    "sandbox/test_values.py",
    "sweep/test_grid.py",
    "test_doctor.py",
    "test_imports.py",
    "test_names.py",
    "test_tiers.py",
    "train/test_batch.py",
    "train/test_health.py",
    "train/test_memory.py",
    "train/test_optim.py",
    "verifiers/test_choice.py",
    "verifiers/test_gold_cases.py",
    "verifiers/test_math_and_regex.py",
    "verifiers/test_small.py",
    "verify",
)
"""Folders and files of the inner loop, `pytest -m fast`. What is marked slow or network is not in it."""

CHAT_TEMPLATE = (
    "{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


def build_tokenizer(*, bos: str | None = None, chat_template: str | None = CHAT_TEMPLATE):
    """Byte-level, 256 bytes and three special tokens; no merges, so every text is its bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", bos_token=bos)
    fast.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    fast.chat_template = chat_template
    return fast


def build_model(seed: int = 0, **changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": 264,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "eos_token_id": 256,
        "bos_token_id": None,
        "pad_token_id": None,
        "initializer_range": 0.2,
        **changes,
    }
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**settings))


@pytest.fixture(scope="session", autouse=True)
def _no_user_configuration(tmp_path_factory):
    """What tests allow to run (prerlkit/trust.py) is not written into the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of a tiny random Llama (float32) with its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = build_tokenizer()
    model = build_model()
    assert tokenizer.eos_token_id == model.config.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_policy(tiny_model):
    """A loaded policy on the tiny model, in float32, with no adapter yet."""
    from prerlkit.policy.policy import load_policy
    from prerlkit.policy.tokens import read_tokens
    from prerlkit.recipe.model import Model

    settings = Model(id=str(tiny_model), dtype="float32", device="cpu")
    return load_policy(str(tiny_model), settings, read_tokens(str(tiny_model), settings))


@pytest.fixture(scope="session")
def make_tokenizer():
    """`build_tokenizer`, for tests that need their own tokenizer."""
    return build_tokenizer


@pytest.fixture(scope="session")
def make_model():
    """`build_model`, for tests that need their own model."""
    return build_model


@pytest.fixture(scope="session")
def make_family():
    """A function that gives a tiny random model of a family that is not like Llama, windows of 8 tokens."""
    import transformers

    common = {"vocab_size": 264, "initializer_range": 0.2, "pad_token_id": None, "bos_token_id": None}
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    grouped = {**common, **small, "num_key_value_heads": 1, "sliding_window": 8}

    def make(family: str):
        torch.manual_seed(0)
        match family:
            case "gemma2":  # sliding windows in every other layer, logits capped behind the head
                config = transformers.Gemma2Config(**grouped, head_dim=16, query_pre_attn_scalar=16)
                return transformers.Gemma2ForCausalLM(config).eval()
            case "qwen2":
                config = transformers.Qwen2Config(**grouped, use_sliding_window=True, max_window_layers=1)
                return transformers.Qwen2ForCausalLM(config).eval()
            case "gpt2":  # learned positions, transposed weights
                config = transformers.GPT2Config(**common, n_embd=32, n_layer=2, n_head=2, eos_token_id=None)
                return transformers.GPT2LMHeadModel(config).eval()

    return make


@pytest.fixture(scope="session")
def tiny_recipe(tiny_model):
    """A function that gives a recipe of two short stages for the tiny model, as plain data."""

    def make(**changes) -> dict:
        """`changes` replace whole top-level keys."""
        return {**_recipe(tiny_model), **changes}

    return make


def _recipe(model: Path) -> dict:
    return {
        "name": "tiny",
        "model": {"id": str(model), "dtype": "float32", "device": "cpu"},
        "adapter": {"rank": 2, "alpha": 4},
        "data": {
            "train": {"kind": "generator", "name": "arithmetic", "rows": 20, "settings": {"low": 0, "high": 9}},
            "eval": {"kind": "held_out", "rows": 4},
        },
        # A random model never adds up, but it writes a capital or a digit now and then: both verdicts occur.
        "verifiers": [{"name": "regex", "settings": {"must_match": ["[0-9A-Z]"]}}],
        "rollout": {"group_size": 4, "prompts_per_step": 2, "max_prompt_tokens": 200, "max_new_tokens": 3},
        "stages": [
            {"name": "warmup", "objective": "nsr-prerl", "steps": 2, "learning_rate": 1e-2},
            {"name": "rl", "objective": "grpo", "steps": 2, "learning_rate": 1e-2},
        ],
        "evaluation": {"prompts": 4},
    }


@pytest.fixture(scope="session")
def new_hub():
    """The class of a Hub on localhost, `tests/hub`; close it after use. Loaded by path: tests are no package."""
    import importlib.util
    import sys

    if "test_hub" not in sys.modules:
        place = Path(__file__).with_name("hub")
        spec = importlib.util.spec_from_file_location("test_hub", place / "__init__.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["test_hub"] = module
        spec.loader.exec_module(module)
    return sys.modules["test_hub"].Hub


def is_fast(path: Path) -> bool:
    place = path.relative_to(Path(__file__).parent)
    return any(str(one) in FAST for one in (place, *place.parents))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The inner loop doesn't import files of which it runs nothing."""
    if config.option.markexpr == "fast" and collection_path.name.startswith("test_") and collection_path.is_file():
        return not is_fast(collection_path) or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_fast(item.path) and not any(item.get_closest_marker(name) for name in ("slow", "network")):
            item.add_marker("fast")


@pytest.fixture(autouse=True)
def _fast_tests_stay_fast(request, monkeypatch):
    """A fast test that starts the command line as a process, or leaves this machine, fails."""
    if request.node.get_closest_marker("fast") is None:
        return
    start, connect = subprocess.Popen.__init__, socket.socket.connect

    def start_no_run(self, args, *rest, **options):
        words = [args] if isinstance(args, str) else [os.fspath(word) for word in args]
        if any(word == "prerlkit" or str(word).endswith("/prerlkit") for word in words):
            pytest.fail(f"a fast test starts {words}: take its file out of FAST in tests/conftest.py")
        start(self, args, *rest, **options)

    def connect_to_this_machine(self, address):
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(("127.", "::1", "localhost")):
            pytest.fail(f"a fast test connects to {address}: take its file out of FAST in tests/conftest.py")
        return connect(self, address)

    monkeypatch.setattr(subprocess.Popen, "__init__", start_no_run)
    monkeypatch.setattr(socket.socket, "connect", connect_to_this_machine)
