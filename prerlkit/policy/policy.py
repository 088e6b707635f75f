"""The policy: base, adapters and tokens. It answers, scores sequences, and is written as one adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prerlkit.chat import render_one
from prerlkit.policy import save, unsloth
from prerlkit.policy.adapters import AdapterStack
from prerlkit.policy.base import head_is_plain, load_base, pick_device, settle
from prerlkit.policy.layers import Layers, called_modules, find_layers
from prerlkit.policy.logprobs import Sequences, token_logprobs
from prerlkit.policy.packed import packs, packs_whole
from prerlkit.policy.positions import fix_positions
from prerlkit.policy.shard import Lockstep
from prerlkit.policy.tokens import StartToken, Tokens
from prerlkit.quiet import quieted
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Memory
from prerlkit.rollout.generate import local_engine
from prerlkit.rollout.protocol import RolloutEngine, Sampling, Scores
from prerlkit.types import Prompt


def _no_other_process() -> None:
    """Wait for no one: the model of this process is whole."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy. It is the `rollout.protocol.PolicySource` of an engine that holds a copy.

    Attributes:
        base: the causal LM of transformers; calling it applies the active adapters.
        adapters: the stack on it.
        tokens: its tokenizer and special tokens.
        plain_head: whether logits can be made chunk by chunk (see `head_is_plain`).
        share_contexts: whether a context goes through the model once for all its completions, in a packed row
            (`packed.packs`).
        pack_whole: whether sequences go through the model in a packed row although contexts can't be shared
            (`packed.packs_whole`).
        logits_chunk: positions whose logits exist at the same time in `score`.
        rejoin: to call when this process has no more passes to make in a rollout or over a train batch
            (`shard.Lockstep`).
        notes: what a person should know about where its base was found.
    """

    base: Any
    adapters: AdapterStack
    tokens: Tokens
    plain_head: bool
    share_contexts: bool
    logits_chunk: int = 1024
    rejoin: Callable[[], None] = _no_other_process
    pack_whole: bool = False
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> Any:
        """`base`, under its public name."""
        return self.base

    @property
    def tokenizer(self) -> Any:
        return self.tokens.tokenizer

    @property
    def end_ids(self) -> tuple[int, ...]:
        return self.tokens.end_ids

    @property
    def start(self) -> StartToken:
        return self.tokens.start

    @property
    def device(self) -> torch.device:
        device: torch.device = self.base.device
        return device

    @property
    def rows_note(self) -> str:
        """What a person should know about the rows that training computes; "" where contexts are shared."""
        if self.share_contexts:
            return ""
        if self.pack_whole:
            return "this model keeps a state along a row: packed rows hold a prompt once for each completion"
        if not self.base._is_stateful:
            return "this model's attention takes no packed rows: training gives each completion a separate padded row"
        return (
            "this model takes no packed rows here, for the state that it keeps along a row: each completion is a "
            "padded row. Gated delta nets (Qwen3.5) take them with flash-linear-attention and causal-conv1d"
        )

    @property
    def samples_by_other_kernels(self) -> bool:
        """Whether an engine in this process rounds otherwise than training does.

        bitsandbytes multiplies NF4 weights on CUDA by another kernel where there are few rows (under 8, or up to 32 in
        narrow layers), as in the end of a rollout.
        """
        four_bit = (module for module in self.base.modules() if type(module).__name__ == "Linear4bit")
        return self.device.type == "cuda" and next(four_bit, None) is not None

    def logprobs(
        self, sequences: Sequences, *, temperature: float, chunk: int, entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return `token_logprobs` of this policy."""
        return token_logprobs(
            self.base,
            sequences,
            temperature=temperature,
            chunk=chunk,
            plain_head=self.plain_head,
            share_contexts=self.share_contexts,
            pack_whole=self.pack_whole,
            entropy=entropy,
        )

    @torch.no_grad()
    def score(self, sequences: Sequence[tuple[int, ...]]) -> Scores:
        """Return the log-probs (nats, temperature 1) of each sequence's tokens from the second on."""
        scores = []
        for ids in sequences:
            packed = Sequences([ids[:1]], [ids[1:]], self.device)
            logprobs_N, _ = self.logprobs(packed, temperature=1.0, chunk=self.logits_chunk, entropy=False)
            scores.append(logprobs_N.tolist())
        return scores

    def engine(self, max_sequences: int) -> tuple[RolloutEngine, str | None]:
        """Return an engine in this process that samples from the policy, and a note where it is the slow one.

        Args:
            max_sequences: completions decoded at the same time.
        """
        return local_engine(self.base, self.tokenizer, self.end_ids, max_sequences, plain_head=self.plain_head)

    def answer(
        self,
        question: str,
        *,
        samples: int = 1,
        temperature: float | None = None,
        max_new_tokens: int = 256,
        seed: int = 0,
        chat: bool | None = None,
    ) -> list[str]:
        """Return completions of one question.

        Args:
            question: the user's turn, or with `chat` false the text to continue.
            temperature: None takes the most probable token each time.
            chat: put the question into the tokenizer's chat template; None: where the tokenizer has one.
        """
        chat = bool(self.tokenizer.chat_template) if chat is None else chat
        text, special = question, not chat
        if chat:
            turns = [{"role": "user", "content": question}]
            text = render_one(self.tokenizer, turns, add_generation_prompt=True)
        ids = tuple(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        sampling = Sampling(samples, max_new_tokens, temperature, seed)
        with quieted():
            engine, _ = self.engine(max(1, samples))
            found = engine.generate([Prompt("question", text, ids)], sampling)
            by_number = {number: completion.text for _, number, completion in found}
        return [by_number[number] for number in range(samples)]

    def write_adapter(self, folder: Path, names: Mapping[str, str] | None = None) -> None:
        """Write all adapters as one PEFT folder; see `PolicySource.write_adapter`."""
        save.save_for_engine(self.adapters, folder, names)

    def release_memory(self) -> None:
        """Return memory of the device that torch's allocator keeps for the next training step."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def load_policy(path: str, model: Model, tokens: Tokens, memory: Memory | None = None, *, length: int = 4096) -> Policy:
    """Load the weights in `path` and put an empty adapter stack on them.

    Args:
        memory: gradient checkpointing, sharding, and positions per chunk of logits; None: a recipe's defaults.
        length: tokens of the longest sequence, for backends that allocate by it and position schemes that depend on it.
    """
    memory = memory or Memory()
    device = pick_device(model.device)
    if model.backend == "unsloth":
        base = unsloth.load(path, model, device, length=length, checkpointing=memory.gradient_checkpointing)
        settle(base, device.type)
        base.enable_input_require_grads()
    else:
        base = load_base(path, model, device, shard=memory.shard_base)
    note = fix_positions(base, length)
    plain = head_is_plain(base, tokens.start.id if tokens.start_token else tokens.end_ids[0])
    # Unsloth checkpoints by itself, and its attention takes no packed rows.
    share = model.backend != "unsloth" and packs(base)
    if model.backend == "unsloth":
        memory = memory.model_copy(update={"gradient_checkpointing": False, "shard_base": False})
    # Unsloth's own passes need not call a layer to use it.
    found = find_layers(base, None if model.backend == "unsloth" else called_modules(base))
    policy = make_policy(base, tokens, memory, plain_head=plain, share_contexts=share, found=found)
    whole = model.backend != "unsloth" and not share and packs_whole(base)
    return replace(policy, pack_whole=whole, notes=(note,) if note else ())


def make_policy(
    base: Any, tokens: Tokens, memory: Memory, *, plain_head: bool, share_contexts: bool, found: Layers | None = None
) -> Policy:
    """Return a settled base (`base.settle`) with an empty adapter stack on it."""
    if memory.gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
    rejoin = Lockstep(base).rejoin if memory.shard_base else _no_other_process
    return Policy(base, AdapterStack(base, found), tokens, plain_head, share_contexts, memory.logits_chunk, rejoin)
