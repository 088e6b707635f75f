"""The metrics of a step, under the names that docs/metrics.md defines."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import torch

from prerlkit.train.sample_and_judge import RolloutBatch
from prerlkit.train.step import UpdateStats
from prerlkit.types import Group
from prerlkit.verify.combine import Named, labels_of


def step_metrics(
    rollout: RolloutBatch,
    stats: UpdateStats,
    rate: float,
    train_seconds: float,
    verifiers: Sequence[Named],
    peak: float = 0,
) -> dict[str, float]:
    """Everything measured in one step, except `step` and `stage`. `verifiers`: the recipe's; `peak`: memory, bytes."""
    generated = sum(len(c.token_ids) for g in rollout.groups for c in g.completions)
    return {
        **group_metrics(rollout.groups),
        **verifier_metrics(rollout.groups, verifiers),
        "tokens/generated": generated,
        "tokens/trained": stats.tokens,
        "loss/total": stats.loss,
        "policy/kl": stats.kl,
        "policy/clip_fraction": stats.clip_fraction,
        "policy/trained_logprob": stats.logprob_sum / max(1, stats.scored),
        "importance/mean": stats.ratio_sum / stats.weighted if stats.weighted else 1.0,
        "importance/capped": stats.capped / max(1, stats.weighted),
        "importance/mismatch": stats.mismatch_sum / max(1, stats.weighted),
        "canary/drift": rollout.sync.drift,
        "canary/gain": rollout.sync.gain,
        "optim/lr": rate,
        "optim/grad_norm": stats.grad_norm,
        "optim/skipped": stats.skipped,
        "optim/nonfinite": stats.nonfinite,
        "time/rollout": rollout.rollout_seconds,
        "time/hand_over": rollout.sync.seconds,
        "time/verify": rollout.verify_seconds,
        "time/train": train_seconds,
        "time/step": rollout.rollout_seconds + rollout.verify_seconds + train_seconds,
        "memory/peak": peak,
    }


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Rewards, lengths and shares of one batch of judged groups. A share of nothing is 0."""
    completions = [c for g in groups for c in g.completions]
    verdicts = [v for g in groups for v in g.verdicts]
    scores = [v.score for v in verdicts if v.score is not None]
    logprobs = [x for c in completions for x in c.logprobs]
    return {
        "reward/mean": _mean(scores),
        "reward/pass_rate": _mean([float(bool(v.passed)) for v in verdicts if v.judged]),
        "group/zero_signal": _mean([float(_without_signal(g)) for g in groups]),
        "sample/unjudged": _mean([float(not v.judged) for v in verdicts]),
        "sample/truncated": _mean([float(c.truncated) for c in completions]),
        "tokens/completion_mean": _mean([float(len(c.token_ids)) for c in completions]),
        # −E[log π] over sampled tokens is the entropy of the policy (unbiased while top_p and top_k are off).
        "policy/entropy": -_mean(logprobs),
    }


def verifier_metrics(groups: Sequence[Group], verifiers: Sequence[Named]) -> dict[str, float]:
    """`reward/<label>` for each of several verifiers: the mean of its own scores. Nothing for one: it is the reward."""
    if len(verifiers) < 2:
        return {}
    details = [v.details for g in groups for v in g.verdicts]
    own = {label: [d[label]["score"] for d in details if label in d] for label in labels_of(verifiers)}
    return {f"reward/{label}": _mean([s for s in scores if s is not None]) for label, scores in own.items()}


def peak_memory() -> int:
    """Largest memory held so far, bytes: allocated by torch on CUDA, else resident memory of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _without_signal(group: Group) -> bool:
    return len({v.score for v in group.verdicts if v.score is not None}) < 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
