"""maj@k: whether the answer that most of k samples agree on is right."""

from __future__ import annotations

from collections.abc import Sequence

from prerlkit.evaluation.attempts import Attempt
from prerlkit.verify.mathematics.equal import same


def majority_at_k(attempts: Sequence[Attempt], k: int) -> float | None:
    """maj@k of one problem: the mean over consecutive blocks of k judged attempts; what is left over takes no part.

    Right answers are one class, because the verifier found each equal to the gold one; wrong ones are classes of equal
    answers, compared without computer algebra. An attempt without an answer has no vote. When classes tie for the
    lead, the right one counts by its share of them, as a draw among them would.

    Returns:
        None with fewer than k judged attempts, and where attempts passed without any answer being known: the verifier
        doesn't extract one.
    """
    judged = [attempt for attempt in attempts if attempt.passed is not None]
    if len(judged) < k or any(attempt.passed and attempt.answer is None for attempt in judged):
        return None
    blocks = [judged[start : start + k] for start in range(0, len(judged) - k + 1, k)]
    return sum(_vote(block) for block in blocks) / len(blocks)


def _vote(block: Sequence[Attempt]) -> float:
    right = sum(bool(attempt.passed) for attempt in block)
    wrong: list[tuple[str, int]] = []
    for attempt in block:
        if attempt.passed or attempt.answer is None:
            continue
        for i, (answer, votes) in enumerate(wrong):
            if same(answer, attempt.answer, 0.0, lambda gold, other: None):
                wrong[i] = answer, votes + 1
                break
        else:
            wrong.append((attempt.answer, 1))
    lead = max([right, *(votes for _, votes in wrong)])
    leaders = sum(votes == lead for _, votes in wrong) + 1
    return 1 / leaders if right and right == lead else 0.0
