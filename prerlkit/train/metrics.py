"""The metrics of a step, under the names of the catalogue."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import torch

from prerlkit.metrics import catalogue
from prerlkit.train.sample_and_judge import RolloutBatch
from prerlkit.train.step import UpdateStats
from prerlkit.types import Group
from prerlkit.verify.combine import HasName, labels_of


def rollout_metrics(rollout: RolloutBatch, verifiers: Sequence[HasName]) -> dict[str, float]:
    """Return what was measured on the completions of one step. `verifiers`: the recipe's."""
    return {
        **group_metrics(rollout.groups),
        **verifier_metrics(rollout.groups, verifiers),
        catalogue.TOKENS_GENERATED.name: sum(len(c.token_ids) for g in rollout.groups for c in g.completions),
        catalogue.CANARY_DRIFT.name: rollout.sync.drift,
        catalogue.CANARY_GAIN.name: rollout.sync.gain,
        catalogue.ROLLOUT_SECONDS.name: rollout.rollout_seconds,
        catalogue.WEIGHT_SYNC_SECONDS.name: rollout.sync.seconds,
        catalogue.VERIFY_SECONDS.name: rollout.verify_seconds,
    }


def update_metrics(
    stats: UpdateStats, rate: float, data_seconds: float, train_seconds: float, peak: float = 0, replay: bool = False
) -> dict[str, float]:
    """Return what was measured on the updates of one step.

    Args:
        data_seconds: that it took to sample and judge.
        peak: memory, bytes.
        replay: whether the stage replays groups.
    """
    weight = stats.replay_weight_sum / stats.replayed if stats.replayed else 1.0
    return {
        **({catalogue.REPLAY_WEIGHT.name: weight} if replay else {}),
        catalogue.TOKENS_TRAINED.name: stats.tokens,
        catalogue.LOSS.name: stats.loss,
        catalogue.KL.name: stats.kl,
        catalogue.CLIP_FRACTION.name: stats.clip_fraction,
        catalogue.TRAINED_LOGPROB.name: stats.logprob_sum / max(1, stats.scored),
        catalogue.IMPORTANCE_MEAN.name: stats.ratio_sum / stats.weighted if stats.weighted else 1.0,
        catalogue.IMPORTANCE_CAPPED.name: stats.capped / max(1, stats.weighted),
        catalogue.IMPORTANCE_MISMATCH.name: stats.mismatch_sum / max(1, stats.weighted),
        catalogue.LEARNING_RATE.name: rate,
        catalogue.GRAD_NORM.name: stats.grad_norm,
        catalogue.SKIPPED_UPDATES.name: stats.skipped,
        catalogue.NONFINITE_UPDATES.name: stats.nonfinite,
        catalogue.TRAIN_SECONDS.name: train_seconds,
        catalogue.STEP_SECONDS.name: data_seconds + train_seconds,
        catalogue.PEAK_MEMORY.name: peak,
    }


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Return the rewards, lengths and shares of one batch of judged groups. A share of nothing is 0."""
    completions = [c for g in groups for c in g.completions]
    verdicts = [v for g in groups for v in g.verdicts]
    scores = [v.score for v in verdicts if v.score is not None]
    logprobs = [x for c in completions for x in c.logprobs]
    return {
        catalogue.REWARD.name: _mean(scores),
        catalogue.PASS_RATE.name: _mean([float(bool(v.passed)) for v in verdicts if v.judged]),
        catalogue.ZERO_SIGNAL.name: _mean([float(not has_signal(g)) for g in groups]),
        catalogue.UNJUDGED.name: _mean([float(not v.judged) for v in verdicts]),
        catalogue.TRUNCATED.name: _mean([float(c.truncated) for c in completions]),
        catalogue.COMPLETION_LENGTH.name: _mean([float(len(c.token_ids)) for c in completions]),
        # −E[log π] over sampled tokens is the entropy of the policy (unbiased while top_p and top_k are off).
        catalogue.ENTROPY.name: -_mean(logprobs),
    }


def verifier_metrics(groups: Sequence[Group], verifiers: Sequence[HasName]) -> dict[str, float]:
    """Return `reward/<label>`, the mean score of each of several verifiers. A single verifier's score is the reward."""
    if len(verifiers) < 2:
        return {}
    details = [v.details for g in groups for v in g.verdicts]
    own = {label: [d[label]["score"] for d in details if label in d] for label in labels_of(verifiers)}
    return {catalogue.REWARD_OF.of(label): _mean([s for s in scores if s is not None]) for label, scores in own.items()}


def peak_memory() -> int:
    """Return the peak memory so far, bytes: allocated by torch on CUDA, else resident memory of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def has_signal(group: Group) -> bool:
    """Return whether the judged scores of a group differ: only then a group baseline leaves an advantage."""
    return len({v.score for v in group.verdicts if v.score is not None}) > 1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
