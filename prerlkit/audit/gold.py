"""Before a run: does the data's own gold answer pass the recipe's verifier? If not, no completion ever could."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prerlkit.audit.samples import AuditRow
from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.types import Verdict
from prerlkit.verify import Verifier, registry
from prerlkit.verify.gold import outcome
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.thinking import opens_thinking

ROWS = 32
"""Rows tried before a run. Ours: a second's work, and a wrong column or pattern shows on every row."""
_GOLD_HINT = (
    "Look at data.answer, data.answer_pattern and the verifier's settings, or filter out such rows: training on a gold "
    "answer that can't pass teaches that every completion is wrong."
)
_SHOWN = 300  # characters of an answer or a completion in a message


def try_gold(uses: Sequence[VerifierConfig], rows: Sequence[AuditRow], folder: Path | None) -> tuple[str, ...]:
    """Judge each row's gold answer, put into a plausible completion, by each verifier that says how that looks.

    Args:
        folder: the recipe's folder, for verifiers next to it.

    Returns:
        A line for a person on each verifier that judges answers.

    Raises:
        UsageError: a gold answer fails, or not one of them can be judged, or a row's tests can't be read; the row is
            shown.
    """
    return tuple(line for use in uses if (line := _try_one(use, rows, folder)))


def _try_one(use: VerifierConfig, rows: Sequence[AuditRow], folder: Path | None) -> str:
    verifier = registry.make(use.name, use.settings, folder)
    for row in rows:
        if why := verifier.row_error(row.sample.row):
            raise UsageError(
                f'verifier "{verifier.name}" can\'t judge any completion of row {row.id}: {why}',
                "Mend the row, or filter out such rows: their completions would be unjudged.",
            )
    wrong = [(row, why) for row in rows if row.sample.answer and (why := verifier.gold_error(row.sample.answer))]
    if wrong:
        row, why = wrong[0]
        raise UsageError(
            f'verifier "{verifier.name}" can pass no completion of {len(wrong)} of {len(rows)} rows that were tried. '
            f"Row {row.id}, gold answer {_short(row.sample.answer)}: {why}",
            _GOLD_HINT,
        )
    tried = [
        AuditRow(row.id, replace(row.sample, prompt=_without_thought(row.sample.prompt), completion=text))
        for row in rows
        if (text := verifier.gold_completion(row.sample.answer or "", row.sample.row)) is not None
    ]
    if not tried and type(verifier).check_service is not Verifier.check_service:
        with Runner([use], folder=folder, workers=1):
            pass  # its worker asks the service
    if not tried and not verifier.needs_answer:
        return ""
    if not tried:
        has_one = type(verifier).gold_completion is not Verifier.gold_completion
        lack = "writes no completion for the gold answers tried" if has_one else "has no `gold_completion`"
        return f'verifier "{verifier.name}" {lack}, so gold answers are not tried before the run'
    with Runner([use], folder=folder, workers=1) as runner:
        verdicts = runner.judge([row.sample for row in tried])
    counts = Counter(outcome(verdict) for verdict in verdicts)
    for row, verdict in zip(tried, verdicts, strict=True):
        if verdict.passed is False:
            raise _refusal(verifier.name, f"fails {counts['fail']} of {len(tried)} gold answers", row, verdict)
    if not counts["pass"]:
        raise _refusal(verifier.name, f"can judge none of {len(tried)} gold answers", tried[0], verdicts[0])
    unjudged = next((f"; {counts['unjudged']} unjudged: {v.reason}" for v in verdicts if not v.judged), "")
    return f'gold answers: {counts["pass"]} of {len(tried)} pass verifier "{verifier.name}"{unjudged}'


def _without_thought(prompt: str) -> str:
    """Return the prompt without an opening think tag at its end: the gold answer alone finishes no thought."""
    return prompt.rstrip().rpartition("<")[0] if opens_thinking(prompt) else prompt


def _refusal(name: str, what: str, row: AuditRow, verdict: Verdict) -> UsageError:
    sample = row.sample
    return UsageError(
        f'verifier "{name}" {what} of this recipe\'s own data. Row {row.id}, gold answer {_short(sample.answer)}, '
        f"put as {_short(sample.completion)}: {verdict.reason or 'failed'}",
        _GOLD_HINT,
    )


def _short(text: str | None) -> str:
    return repr(text) if text is None or len(text) <= _SHOWN else repr(text[:_SHOWN] + "…")
