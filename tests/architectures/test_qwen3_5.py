"""Qwen3.5 as it is published, text and vision: what vLLM calls its layers, and packed rows where its kernels can."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import architectures_table as table
import architectures_trial as trial
import pytest
import torch
from safetensors.torch import load_file

from prerlkit.policy.attention import use_own_attention
from prerlkit.policy.layout import stored_modules
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.packed import packs_whole
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.model import Adapter, Model


def published(name: str, folder: Path, tokenizer, **text) -> Path:
    """Write the row `name` of the table as it is published; `text` changes its language model."""
    (row,) = (row for row in table.ROWS if row.name == name)
    if text:
        row = table.Row(row.name, row.model_type, row.config, {**row.text, **text}, row.architecture)
    table.write(row, folder, tokenizer)
    return folder


def loaded(folder: Path, **model):
    settings = Model(id=str(folder), dtype="float32", device="cpu", **model)
    return load_policy(str(folder), settings, read_tokens(str(folder), settings))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory, make_tokenizer):
    return published("Qwen3.5, with vision", tmp_path_factory.mktemp("qwen3_5") / "model", make_tokenizer())


def test_an_engine_gets_the_adapter_under_the_names_of_the_files(qwen, tmp_path):
    """vLLM serves the whole checkpoint and drops, without an error, an adapter with the language model's own names."""
    policy = loaded(qwen)
    policy.adapters.fresh("one", Adapter(rank=2, alpha=4.0), seed=0)
    names = stored_modules(qwen, policy.adapters.found.linear)
    assert names["model.layers.0.linear_attn.in_proj_qkv"] == "model.language_model.layers.0.linear_attn.in_proj_qkv"
    assert set(names) == set(policy.adapters.found.linear)

    policy.write_adapter(tmp_path / "sent", names)
    policy.write_adapter(tmp_path / "own")
    sent, own = (load_file(tmp_path / place / "adapter_model.safetensors") for place in ("sent", "own"))
    moved = {key.replace("model.model.layers", "model.model.language_model.layers"): key for key in own}
    assert set(sent) == set(moved)
    assert all(torch.equal(tensor, own[moved[key]]) for key, tensor in sent.items())
    config = json.loads((tmp_path / "sent" / "adapter_config.json").read_text())
    assert set(config["target_modules"]) == set(policy.adapters.linear_names)  # last names: the same in both


def test_a_run_publishes_an_adapter_for_the_language_model_and_one_for_the_whole_checkpoint(qwen, tmp_path):
    """The second has the names by which vLLM, and PEFT on the published class, know the layers."""
    import transformers
    from peft import PeftModel

    done = trial.go(qwen, tmp_path / "run", "Qwen3_5ForConditionalGeneration")
    assert not done.refused
    assert done.adapter < 1e-5
    assert done.merged < 2e-5
    base = transformers.Qwen3_5ForConditionalGeneration.from_pretrained(qwen, dtype=torch.float32).eval()
    before = trial.logits(base)
    served = trial.logits(PeftModel.from_pretrained(base, str(tmp_path / "run" / "export" / "vllm")).eval())
    merged = trial.logits(trial.whole(tmp_path / "run" / "merged", "Qwen3_5ForConditionalGeneration"))
    assert trial.apart(served, merged) < 2e-5
    assert trial.apart(served, before) > 1e-3
    assert json.loads((tmp_path / "run" / "export" / "export.json").read_text())["vllm"] == "vllm"


@pytest.mark.parametrize("name", ["Qwen3.5, text", "Llama 3", "GPT-2", "Mixtral"])
def test_where_the_files_have_the_models_own_names_nothing_is_renamed(name, tmp_path, make_tokenizer):
    folder = published(name, tmp_path, make_tokenizer())
    policy = loaded(folder)
    assert stored_modules(folder, policy.adapters.found.linear) == {}


class Kernels:
    """flash-linear-attention's and causal-conv1d's functions with the packages' own parameters, by torch.

    `leaks` is one that ignores where sequences begin, as a package that doesn't know the argument would.
    """

    def __init__(self, delta_rule, convolution, leaks: str = "") -> None:
        self._delta_rule, self._convolution, self._leaks = delta_rule, convolution, leaks
        self.calls: list[str] = []

    def chunk_gated_delta_rule(
        self, q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False, cu_seqlens=None,
        use_qk_l2norm_in_kernel=False,
    ):  # fmt: skip
        if cu_seqlens is None or self._leaks == "state":
            parts = [(0, q.shape[1])]
        else:
            assert q.shape[0] == 1
            assert cu_seqlens.dtype == torch.int32
            self.calls.append("delta rule")
            parts = list(itertools.pairwise(cu_seqlens.tolist()))
            assert parts[-1][1] == q.shape[1]
        made = [
            self._delta_rule(
                *(x[:, a:b] for x in (q, k, v)), g=g[:, a:b], beta=beta[:, a:b], initial_state=initial_state,
                output_final_state=output_final_state, use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
            )
            for a, b in parts
        ]  # fmt: skip
        return torch.cat([out for out, _ in made], dim=1), made[-1][1]

    def causal_conv1d_fn(self, x, weight, bias=None, seq_idx=None, activation=None):
        if seq_idx is None or self._leaks == "convolution":
            return self._convolution(x, weight, bias, activation)
        assert seq_idx.shape == (x.shape[0], x.shape[2])
        assert seq_idx.dtype == torch.int32
        assert x.stride(1) == 1  # the package takes `seq_idx` with channels last alone
        self.calls.append("convolution")
        lengths = seq_idx[0].unique_consecutive(return_counts=True)[1].tolist()
        return torch.cat([self._convolution(part, weight, bias, activation) for part in x.split(lengths, 2)], 2)


@pytest.fixture
def kernels(monkeypatch):
    """A function that installs `Kernels` as the two packages, through transformers' own wrapper."""
    from transformers.integrations.hub_kernels import use_kernel_func_from_hub_with_fallback
    from transformers.models.qwen3_5 import modeling_qwen3_5 as modeling

    def install(leaks: str = "") -> Kernels:
        plain = modeling.torch_chunk_gated_delta_rule, modeling.causal_conv1d_fn
        made = Kernels(*plain, leaks)
        for package, function, own in (
            ("fla", "chunk_gated_delta_rule", "torch_chunk_gated_delta_rule"),
            ("causal_conv1d", "causal_conv1d_fn", "causal_conv1d_fn"),
        ):
            monkeypatch.setitem(sys.modules, package, SimpleNamespace(**{function: getattr(made, function)}))
            wrap = use_kernel_func_from_hub_with_fallback(function, package)
            monkeypatch.setattr(modeling, own, wrap(getattr(modeling, own)))
        return made

    return install


def scored(policy, **form):
    """Log-probs of completions of several prompts, and the gradient of their sum; an adapter that changes something."""
    contexts = [tuple(range(40, 53)), (7,), tuple(range(40, 53)), tuple(range(90, 99))]
    completions = [tuple(range(60, 80)), (5, 4, 3), (9, 8, 200, 7), tuple(range(140, 145))]
    sequences = Sequences(contexts, completions, policy.device)
    logprobs_N, _ = dataclasses.replace(policy, **form).logprobs(sequences, temperature=1.0, chunk=16, entropy=False)
    logprobs_N.sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.adapters.trainable])
    policy.base.zero_grad()
    return logprobs_N.detach(), gradient


def with_adapter(policy):
    policy.adapters.fresh("one", Adapter(rank=2, alpha=4.0), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.adapters.trainable:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return policy


def test_with_its_kernels_sequences_are_packed_and_no_state_crosses_over(qwen, kernels):
    """transformers passes on where sequences begin, and the log-probs are those of the sequences one by one."""
    used = kernels()
    policy = with_adapter(loaded(qwen))
    assert policy.pack_whole
    assert not policy.share_contexts  # a state can't be shared
    assert "packed rows hold a prompt once for each completion" in policy.rows_note
    used.calls.clear()
    packed, gradient = scored(policy)
    assert set(used.calls) == {"delta rule", "convolution"}
    alone, padded_gradient = scored(policy, pack_whole=False)
    torch.testing.assert_close(packed, alone, atol=2e-5, rtol=0)
    torch.testing.assert_close(gradient, padded_gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("leaks", ["state", "convolution"])
def test_a_kernel_that_leaks_a_state_gets_no_packed_rows(qwen, kernels, leaks):
    kernels(leaks)
    policy = loaded(qwen)
    assert not policy.pack_whole
    assert not policy.share_contexts


def test_without_kernels_rows_are_padded_and_a_note_says_which_packages_pack_them(qwen):
    policy = loaded(qwen)
    assert not policy.pack_whole
    assert not policy.share_contexts
    assert "flash-linear-attention and causal-conv1d" in policy.rows_note


def test_attention_alone_packs_whole_sequences_too(make_model):
    """The form itself, on a model that needs no kernel for it."""
    base = make_model().eval()
    assert not packs_whole(base)  # transformers' own attention: the row's sequences would see each other
    use_own_attention(base, "cpu")
    assert packs_whole(base)
