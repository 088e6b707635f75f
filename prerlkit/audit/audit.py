"""Audit a recipe's reward: what each attack gets compared with gold answers, and where a second opinion differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prerlkit.audit.attacks import Attack, Writer, attacks
from prerlkit.audit.samples import AuditRow, from_data
from prerlkit.recipe.schema import Recipe, VerifierConfig
from prerlkit.types import Verdict
from prerlkit.verify import Verifier, VerifierInput, registry
from prerlkit.verify.gold import outcome
from prerlkit.verify.pool.runner import Runner

SECOND_OPINIONS = {"math": "prerlkit.audit.reference_check:MathVerify"}
"""Verifiers that another one can be asked about, and that other one."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """What one attack got.

    Attributes:
        gold: it is no attack but the right answer, to compare with.
        score: mean over the judged; None when none was.
        passed, unjudged: shares of all.
        example: a completion that scored more than 0 (for gold: one that didn't pass), and its verdict's reason.
    """

    name: str
    gold: bool
    samples: int
    score: float | None
    passed: float
    unjudged: float
    example: str = ""

    def over(self, threshold: float) -> bool:
        return not self.gold and self.score is not None and self.score > threshold


@dataclass(frozen=True, slots=True)
class AuditDisagreement:
    """A completion on which a verifier and the second opinion differ."""

    verifier: str
    answer: str | None
    completion: str
    ours: str
    theirs: str
    reason: str


@dataclass(frozen=True, slots=True)
class Audit:
    """All lines, the right answers first; the differences; and how many completions the second opinion was asked on."""

    lines: tuple[AuditLine, ...]
    differences: tuple[AuditDisagreement, ...]
    asked: int

    def over(self, threshold: float) -> list[str]:
        """The attacks whose mean score is above the threshold."""
        return [line.name for line in self.lines if line.over(threshold)]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def audit(recipe: Recipe, folder: Path | None, rows: int) -> Audit:
    """Attack the recipe's reward on up to `rows` rows of its train data.

    Args:
        folder: the recipe's folder, for relative paths and plugins next to it.

    Raises:
        UsageError: a verifier, setting, source, column or template is wrong.
        PrerlkitError: the data can't be had.
    """
    verifiers = [registry.make(use.name, use.settings, folder) for use in recipe.verifiers]
    drawn = from_data(recipe.data, folder, rows)
    tried = attacks(drawn, verifiers)
    with Runner(recipe.verifiers, reward=recipe.reward, gates=recipe.gates, folder=folder) as runner:
        lines = tuple(_line(attack, runner.judge(attack.samples)) for attack in tried)
    differences: list[AuditDisagreement] = []
    asked = 0
    for use, verifier in zip(recipe.verifiers, verifiers, strict=True):
        if second := SECOND_OPINIONS.get(verifier.name):
            samples = near_gold(drawn, verifier)
            asked += len(samples)
            differences += compare(use, second, samples, folder)
    return Audit(lines, tuple(differences), asked)


def near_gold(rows: Sequence[AuditRow], verifier: Verifier) -> list[VerifierInput]:
    """Each row's gold answer, and answers close to it, written as the verifier would have them."""
    writer = Writer([verifier])
    samples = []
    for i, row in enumerate(rows):
        gold, other = row.sample.answer, rows[i - 1].sample.answer
        if gold is not None:
            answers = dict.fromkeys([gold, f"{gold}+1", f"-{gold}", f"{gold}, {other}", f"{gold}.0", other or ""])
            samples += [replace(row.sample, completion=writer.solution(a, row.sample.row)) for a in answers if a]
    return samples


def compare(
    use: VerifierConfig, second: str, samples: Sequence[VerifierInput], folder: Path | None
) -> list[AuditDisagreement]:
    """Where two verifiers come to different outcomes on the same completions."""
    other = use.model_copy(update={"name": second, "settings": {}})
    found = []
    with Runner([use], folder=folder, workers=1) as ours, Runner([other], workers=1) as theirs:
        for sample, a, b in zip(samples, ours.judge(samples), theirs.judge(samples), strict=True):
            if outcome(a) != outcome(b):
                found.append(
                    AuditDisagreement(
                        use.name, sample.answer, sample.completion, outcome(a), outcome(b), b.reason or a.reason
                    )
                )
    return found


def _line(attack: Attack, verdicts: Sequence[Verdict]) -> AuditLine:
    judged = [v.score for v in verdicts if v.score is not None]
    telling = (
        f"{sample.completion!r} for {sample.answer!r}" + (f" ({verdict.reason})" if verdict.reason else "")
        for sample, verdict in zip(attack.samples, verdicts, strict=True)
        if (not verdict.passed if attack.gold else (verdict.score or 0) > 0)
    )
    return AuditLine(
        name=attack.name,
        gold=attack.gold,
        samples=len(verdicts),
        score=sum(judged) / len(judged) if judged else None,
        passed=sum(bool(v.passed) for v in verdicts) / len(verdicts),
        unjudged=sum(not v.judged for v in verdicts) / len(verdicts),
        example=next(telling, ""),
    )
