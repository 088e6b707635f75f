"""Checks of what samples, and of a run as a whole: each installed engine, Unsloth's load, stop and resume."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from typing import Any

import torch

from prerlkit.doctor import tiny
from prerlkit.doctor.check import Bench, FailedError, SkippedError, within
from prerlkit.doctor.policy_checks import device_of, load
from prerlkit.engines.engine import EngineContext
from prerlkit.engines.registry import engine_of
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.policy.unsloth import check_usable
from prerlkit.recipe.model import Model
from prerlkit.rollout.canary import DRIFT
from prerlkit.rollout.protocol import Sampling
from prerlkit.runs.files import Existing
from prerlkit.train.callbacks import SilentCallback, StopSignal
from prerlkit.train.run import run
from prerlkit.types import Prompt

PROMPTS = tuple(Prompt(str(n), "", tuple((9 * n + i) % 250 for i in range(24 + 4 * n)), None, {}) for n in range(4))


def rollouts(bench: Bench, engine: str) -> Mapping[str, float]:
    """An engine's rollouts with two adapters: its log-probs against plain forward passes, and its speed.

    An engine with a copy starts, takes the adapters twice with its canary, sleeps and wakes in between.
    """
    rollout = {"engine": engine, "group_size": 4, "prompts_per_step": 4, "max_new_tokens": 32, "max_sequences": 16}
    recipe = tiny.recipe(bench.model, bench.device, rollout=rollout)
    try:
        engine_of(recipe).check_installed(recipe)
    except Exception as error:
        if importlib.util.find_spec(engine) is None:
            raise SkippedError("not installed") from error
        raise
    if engine == "transformers" and bench.device == "cuda" and not torch.backends.cuda.is_built():
        raise SkippedError("its batches need CUDA streams, which this build of torch lacks: a simulated device")
    policy = load(bench)
    started = time.perf_counter()
    running = engine_of(recipe).make(EngineContext(recipe, policy, PROMPTS, bench.model, lambda line: None))
    figures: dict[str, float] = {"start, s": time.perf_counter() - started}
    try:
        for number, stage in enumerate(recipe.stages):
            policy.adapters.fresh(stage.name, stage.adapter, number)
            _spread(policy, number)
            sync = running.sync_weights()
            begun = time.perf_counter()
            made = list(running.generate(PROMPTS, Sampling(4, 32, 1.0, seed=number)))
            seconds = time.perf_counter() - begun
        if sync.drift:
            figures |= {"sync, s": sync.seconds, "canary drift": sync.drift, "canary gain": sync.gain}
    finally:
        running.close()
    tokens = sum(len(completion.token_ids) for _, _, completion in made)
    figures["tokens/s"] = tokens / seconds
    sequences = Sequences([PROMPTS[p].token_ids for p, _, _ in made], [c.token_ids for _, _, c in made], policy.device)
    with torch.no_grad():
        plain_N, _ = policy.logprobs(sequences, temperature=1.0, chunk=256, entropy=False)
    sampled_N = torch.tensor([one for _, _, c in made for one in c.logprobs])
    figures["nats from a forward pass"] = float((plain_N.cpu() - sampled_N).abs().mean())
    within(figures, "nats from a forward pass", DRIFT["bfloat16"])
    return figures


def unsloth_loads(bench: Bench) -> Mapping[str, float]:
    """Unsloth loads the small model and gives log-probs."""
    if importlib.util.find_spec("unsloth") is None:
        raise SkippedError("not installed")
    if bench.device != "cuda":
        raise SkippedError("it needs a CUDA card")
    check_usable(torch.device("cuda"))
    settings = Model(id=str(bench.model), dtype="bfloat16", device="cuda", backend="unsloth")
    policy = load_policy(str(bench.model), settings, read_tokens(str(bench.model), settings), length=256)
    scores = torch.tensor(policy.score([tuple(range(40))])[0])
    figures = {"nats a token": float(-scores.mean())}
    within(figures, "nats a token", 20.0)
    return figures


def resumes(bench: Bench) -> Mapping[str, float]:
    """Check that a run that is stopped and resumed ends with the same adapter as a run without a stop."""
    whole = _run(bench, "whole")
    _run(bench, "parts", after=1)
    resumed = _run(bench, "parts", existing="resume")
    difference = max(float((whole[name] - resumed[name]).abs().max()) for name in whole)
    figures = {"largest difference": difference}
    if bench.device == "cpu" or difference > 1e-2:  # on a card sums may be in another order
        within(figures, "largest difference", 0.0)
    return figures


def _run(bench: Bench, name: str, *, after: int | None = None, existing: Existing = "refuse") -> dict[str, Any]:
    from safetensors.torch import load_file

    class Stopping(SilentCallback):
        def on_step_end(self, record: Any, *_: Any) -> None:
            if record.step == after:
                stop.request()

    stop = StopSignal()
    recipe = tiny.recipe(bench.model, device_of(bench))
    summary = run(recipe, bench.folder / name, recipe_folder=None, callback=Stopping(), stop=stop, existing=existing)
    if after is not None:
        return {}
    if summary.exit_reason != "completed":
        raise FailedError(f"the run ended as {summary.exit_reason}", {})
    return dict(load_file(bench.folder / name / "adapter" / "adapter_model.safetensors"))


def _spread(policy: Any, seed: int) -> None:
    """Move the trainable adapter away from zero, so that a missing one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.adapters.trainable:
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator).to(parameter.device))
