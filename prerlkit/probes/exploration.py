"""Exploration: how different the completions of one prompt are, and what several tries find that one try doesn't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prerlkit.evaluation.attempts import found
from prerlkit.metrics.metric import Metric
from prerlkit.probes.protocol import Probe, ProbeInput, ProbeResult
from prerlkit.probes.self_bleu import self_bleu
from prerlkit.settings import Bool, PositiveInt, ProbeSettings
from prerlkit.types import Group


class ExplorationSettings(ProbeSettings):
    """How different a group's completions are: answers, n-grams, self-BLEU, pass@k spread, entropy."""

    name: Literal["exploration"] = "exploration"
    every: PositiveInt = 1
    """Steps of a stage between two measurements."""
    exact_entropy: Bool = False
    """Also the mean entropy of the distributions that tokens were drawn from, instead of an estimate from the drawn
    tokens alone: one more pass without backward over the first `groups` groups."""
    groups: PositiveInt = 4
    """How many groups that pass is made over."""


METRICS = (
    Metric(
        "probe/exploration/answers",
        "different answers in a group, on average; as the verifier read them, and all completions without one are one "
        "answer. Whole texts where the verifier names no answer",
    ),
    Metric(
        "probe/exploration/distinct_1",
        "different tokens over all tokens of a group's completions (distinct-n, arXiv 1510.03055), mean over groups",
    ),
    Metric("probe/exploration/distinct_2", "the same of pairs of tokens"),
    Metric(
        "probe/exploration/self_bleu",
        "BLEU of each completion of a group with the others as references (self-BLEU, arXiv 1802.01886), over tokens, "
        "up to four in a row, not smoothed; mean over the group, then over groups. 1: all alike",
    ),
    Metric(
        "probe/exploration/pass_at_1",
        "mean over groups of the share of judged completions that passed",
        better="higher",
    ),
    Metric("probe/exploration/pass_at_g", "share of groups in which one of them did", better="higher"),
    Metric("probe/exploration/spread", "the second minus the first: what more tries find"),
    Metric(
        "probe/exploration/entropy",
        "with `exact_entropy: true`: mean entropy of the distributions that tokens were drawn from, at the rollout's "
        "temperature. `policy/entropy` estimates it from the drawn tokens for nothing; this one has less noise and "
        "costs a pass over the first `groups` groups",
        "nats a token",
    ),
)


class Exploration(Probe):
    """The probe `exploration`."""

    name = "exploration"
    Settings = ExplorationSettings
    metrics = METRICS
    cheaper = ", or only exact_entropy"

    settings: ExplorationSettings

    @property
    def makes_passes(self) -> bool:  # type: ignore[override]
        return self.settings.exact_entropy

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Make no pass through the model, except for the exact entropy."""
        answers = distinct_answers(seen.groups)
        passes = [[bool(v.passed) for v in group.verdicts if v.judged] for group in seen.groups]
        judged = [own for own in passes if own]
        metrics = {"probe/exploration/answers": _mean(answers)} if answers else {}
        for n in (1, 2):
            shares = [share for group in seen.groups if (share := distinct_ngrams(group, n)) is not None]
            metrics |= {f"probe/exploration/distinct_{n}": _mean(shares)} if shares else {}
        if shares := [share for group in seen.groups if (share := self_bleu(_tokens(group))) is not None]:
            metrics["probe/exploration/self_bleu"] = _mean(shares)
        if judged:
            one, any_of = _mean([_mean(own) for own in judged]), _mean([float(any(own)) for own in judged])
            metrics |= {
                "probe/exploration/pass_at_1": one,
                "probe/exploration/pass_at_g": any_of,
                "probe/exploration/spread": any_of - one,
            }
        if self.settings.exact_entropy:
            metrics |= self._entropy(seen)
        return ProbeResult(metrics, {"answers": answers, "passed": [sum(own) for own in passes]})

    def _entropy(self, seen: ProbeInput) -> dict[str, float]:
        from prerlkit.probes.passes import rows_behind_prompts, score

        entropies = score(seen, rows_behind_prompts(seen.groups[: self.settings.groups]), entropy=True)
        tokens = sum(len(own) for own in entropies)
        total = sum(float(own.double().sum()) for own in entropies)
        return {"probe/exploration/entropy": total / tokens} if tokens else {}


def distinct_answers(groups: Sequence[Group]) -> list[int]:
    """Return the number of different answers in each group, as the verifier read them.

    All completions of a group without an answer count as one answer. Where the verifier names no
    answer at all in the step, whole texts are compared.
    """
    named = [[found(verdict) for verdict in group.verdicts] for group in groups]
    if any(answer is not None for own in named for answer in own):
        return [len(set(own)) for own in named]
    return [len({completion.text.strip() for completion in group.completions}) for group in groups]


def distinct_ngrams(group: Group, n: int) -> float | None:
    """Return the share of different n-grams among all of the group's completions (distinct-n, arXiv 1510.03055).

    None where there is none. It is taken within a group: different prompts must not count as different tries.
    """
    grams = [
        completion.token_ids[i : i + n]
        for completion in group.completions
        for i in range(len(completion.token_ids) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else None


def _tokens(group: Group) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in group.completions]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
