"""Passes of a probe through the model, with and without backward, that leave the model unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.microbatch import TokenRow, micro_batches
from prerlkit.policy.policy import Policy
from prerlkit.probes.protocol import ProbeInput
from prerlkit.types import Group

_INITIAL = 0.02
"""Standard deviation of a model's weights before training: the default of transformers' `initializer_range`."""


def rows_behind_prompts(groups: Sequence[Group]) -> list[TokenRow]:
    """Return a row for every completion that has a token, after its prompt."""
    return [TokenRow(g.prompt.token_ids, c.token_ids) for g in groups for c in g.completions if c.token_ids]


@torch.no_grad()
def score(seen: ProbeInput, rows: Sequence[TokenRow], *, entropy: bool = False) -> list[Tensor]:
    """Return each row's log-probs at the rollout's temperature, or with `entropy` its entropies; nats."""
    return _by_row(rows, _passes(seen, rows, entropy=entropy))


@torch.no_grad()
def completion_logprobs(
    policy: Policy, rows: Sequence[TokenRow], *, temperature: float, pass_tokens: int, chunk: int
) -> list[Tensor]:
    """Return the log-probs of each row's completion at `temperature`, nats. `pass_tokens`, `chunk`: see ProbeInput."""
    return _by_row(rows, _batches(policy, rows, temperature, pass_tokens, chunk, entropy=False))


def _by_row(rows: Sequence[TokenRow], passes: Iterable[tuple[list[int], Tensor, Tensor | None]]) -> list[Tensor]:
    """Return the entropies where there are any, else the log-probs, split by row."""
    found: dict[int, Tensor] = {}
    for indices, logprobs_N, entropy_N in passes:
        values_N = logprobs_N if entropy_N is None else entropy_N
        found.update(zip(indices, values_N.split([len(rows[i].completion) for i in indices]), strict=True))
    return [found[i] for i in range(len(rows))]


def gradient(seen: ProbeInput, rows: Sequence[TokenRow], weights: Sequence[float]) -> list[Tensor]:
    """Return ∇ Σ_y w_y log P(y | context) on the trainable adapter: a float32 tensor on the CPU for each parameter.

    log P is the sum over the completion's tokens. Adapter dropout is off; gradient checkpointing is as in training.
    Gradients that the parameters had before are restored.
    """
    parameters = seen.policy.adapters.trainable
    with _own_gradients(parameters), _training_without_dropout(seen.policy.base):
        for indices, logprobs_N, _ in _passes(seen, rows):
            weights_N = torch.cat([logprobs_N.new_full((len(rows[i].completion),), weights[i]) for i in indices])
            (logprobs_N * weights_N).sum().backward()  # not autograd.grad, which some checkpointing can't do
        return [_taken(parameter) for parameter in parameters]


def token_gradients(seen: ProbeInput, rows: Sequence[TokenRow]) -> list[tuple[float, Tensor]]:
    """Return, for the last token of each row, its log-prob and ∇ log-prob on the trainable adapter, a float32 vector.

    One pass for each row. Adapter dropout is off, and the parameters' own gradients are restored.
    """
    parameters = seen.policy.adapters.trainable
    found = []
    with _own_gradients(parameters), _training_without_dropout(seen.policy.base):
        for row in rows:
            ((_, logprobs_N, _),) = _passes(seen, [row])
            logprobs_N[-1].backward()
            taken = torch.cat([_taken(parameter).flatten() for parameter in parameters])
            found.append((float(logprobs_N[-1].detach()), taken))
    return found


@contextmanager
def untrained(base: nn.Module) -> Iterator[None]:
    """Make the weights random within the block: matrices normal with deviation 0.02, as most begin; adapters add 0.

    Vectors (norms, biases) stay as they are, and so do the A-factors of adapters. The weights wait in main memory and
    are restored to the bit. Generators of the process are not used.
    """
    generator = torch.Generator().manual_seed(0)
    kept: list[tuple[nn.Parameter, Tensor]] = []
    try:
        with torch.no_grad():
            for name, parameter in base.named_parameters():
                if parameter.dim() < 2 or ".lora_A." in name:
                    continue
                kept.append((parameter, parameter.detach().to("cpu", copy=True)))
                if ".lora_B." in name:
                    parameter.zero_()
                else:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator).mul_(_INITIAL))
        yield
    finally:
        with torch.no_grad():
            for parameter, own in kept:
                parameter.copy_(own)


def _passes(
    seen: ProbeInput, rows: Sequence[TokenRow], *, entropy: bool = False
) -> Iterator[tuple[list[int], Tensor, Tensor | None]]:
    temperature = seen.stage.rollout.temperature
    yield from _batches(seen.policy, rows, temperature, seen.pass_tokens, seen.chunk, entropy=entropy)


def _batches(
    policy: Policy, rows: Sequence[TokenRow], temperature: float, pass_tokens: int, chunk: int, *, entropy: bool
) -> Iterator[tuple[list[int], Tensor, Tensor | None]]:
    for indices in micro_batches(rows, pass_tokens, share_contexts=policy.share_contexts):
        contexts, completions = [rows[i].context for i in indices], [rows[i].completion for i in indices]
        sequences = Sequences(contexts, completions, policy.device)
        yield indices, *policy.logprobs(sequences, temperature=temperature, chunk=chunk, entropy=entropy)


def _taken(parameter: nn.Parameter) -> Tensor:
    gradient, parameter.grad = parameter.grad, None
    return (
        torch.zeros_like(parameter, dtype=torch.float32, device="cpu") if gradient is None else gradient.float().cpu()
    )


@contextmanager
def _own_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Give the parameters no gradient within the block, and restore their gradients afterwards."""
    kept = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, before in zip(parameters, kept, strict=True):
            parameter.grad = before


@contextmanager
def _training_without_dropout(base: nn.Module) -> Iterator[None]:
    """Set training mode without dropout: checkpointing needs training mode, and dropout would draw random numbers."""
    base.train()
    for module in base.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    try:
        yield
    finally:
        base.eval()
