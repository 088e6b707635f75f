"""Judges a file of rows with one verifier: for looking at verdicts, and for other programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from prerlkit.data.files import jsonl
from prerlkit.data.template import as_text
from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.types import Verdict
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner

_AHEAD = 64  # samples under way: a completion may have a megabyte


def read(path: Path, answer: str = "answer") -> list[VerifierInput]:
    """The samples of a jsonl file: `completion`, the gold answer's column, and where given prompt, truncated, tokens.

    Raises:
        UsageError: the file can't be read, or a line is no row with a completion; with file and line.
    """
    try:
        return [_sample(row, f"{path}, line {number}", answer) for number, row in jsonl(path)]
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error


def judge(use: VerifierConfig, samples: Sequence[VerifierInput], folder: Path | None) -> Iterator[Verdict]:
    """A verdict for each sample, in their order, each as soon as it and those before it are known."""
    waiting: deque[Future[Verdict]] = deque()
    with Runner([use], folder=folder, max_pending=_AHEAD) as runner:
        for sample in samples:
            waiting.append(runner.submit(sample))
            while waiting and waiting[0].done():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def to_json(verdict: Verdict) -> dict[str, Any]:
    return {"score": verdict.score, "passed": verdict.passed, "reason": verdict.reason}


def _sample(row: dict[str, Any], where: str, answer: str) -> VerifierInput:
    completion = row.get("completion")
    if not isinstance(completion, str):
        what = (
            "no completion" if completion is None else f"a completion that is no text but {type(completion).__name__}"
        )
        raise UsageError(f"{where}: the row has {what}", "Each line is an object with `completion` and the columns.")
    # Columns of another shape are left to verifiers that read the row: a chat as `prompt`, a list as `answer`.
    prompt, gold, tokens = row.get("prompt"), row.get(answer), row.get("tokens")
    return VerifierInput(
        prompt=prompt if isinstance(prompt, str) else "",
        completion=completion,
        answer=as_text(gold, where, answer) if isinstance(gold, str | int | float) else None,
        row=row,
        truncated=row.get("truncated") is True,
        tokens=tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else 0,
    )
