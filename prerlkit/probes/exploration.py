"""Exploration: how different the completions of one prompt are, and what many tries find that one doesn't."""

from __future__ import annotations

from collections.abc import Sequence

from prerlkit.evaluation.attempts import found
from prerlkit.probes.passes import rows_behind_prompts, score
from prerlkit.probes.protocol import ProbeInput, ProbeResult
from prerlkit.probes.self_bleu import self_bleu
from prerlkit.recipe.probes import ExplorationProbe
from prerlkit.types import Group


class Exploration:
    """The probe `exploration`."""

    name = "exploration"

    def __init__(self, settings: ExplorationProbe) -> None:
        self.every = settings.every
        self._settings = settings

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """No pass through the model, but for the exact entropy."""
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
        if self._settings.exact_entropy:
            metrics |= self._entropy(seen)
        return ProbeResult(metrics, {"answers": answers, "passed": [sum(own) for own in passes]})

    def _entropy(self, seen: ProbeInput) -> dict[str, float]:
        entropies = score(seen, rows_behind_prompts(seen.groups[: self._settings.groups]), entropy=True)
        tokens = sum(len(own) for own in entropies)
        total = sum(float(own.double().sum()) for own in entropies)
        return {"probe/exploration/entropy": total / tokens} if tokens else {}


def distinct_answers(groups: Sequence[Group]) -> list[int]:
    """Different answers in each group, as the verifier read them; all completions without one are one answer.

    Where the verifier names no answer at all in the step, whole texts are compared.
    """
    named = [[found(verdict) for verdict in group.verdicts] for group in groups]
    if any(answer is not None for own in named for answer in own):
        return [len(set(own)) for own in named]
    return [len({completion.text.strip() for completion in group.completions}) for group in groups]


def distinct_ngrams(group: Group, n: int) -> float | None:
    """Different n-grams of tokens over all n-grams in the group's completions (distinct-n, arXiv 1510.03055).

    None where there is none. Within a group, so that different prompts don't look like different tries.
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
