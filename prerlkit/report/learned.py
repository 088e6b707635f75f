"""Did it learn? The held-out evaluations of a run, and what may be said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prerlkit.evaluation.effect_words import THOUGHTS
from prerlkit.evaluation.estimates import Estimate
from prerlkit.runs.run import Run

Answer = Literal["learned", "got worse", "no clear change", "not known yet", "not evaluated"]


@dataclass(frozen=True, slots=True)
class Learned:
    """The answer, and the figures it stands on.

    Attributes:
        measure: `greedy accuracy` or `avg@k`; empty where nothing was evaluated.
        first, last: the earliest evaluation and the latest, by that measure.
        change: last − first, with a 95 % interval.
        when: names of the two evaluations.
    """

    answer: Answer
    measure: str = ""
    first: Estimate | None = None
    last: Estimate | None = None
    change: Estimate | None = None
    when: tuple[str, str] = ("", "")


def learned(run: Run) -> Learned:
    """From the first evaluation to the last one, by greedy accuracy or, without it, by avg@k."""
    for key, measure in (("accuracy", "greedy accuracy"), ("average", "avg@k")):
        found = [(str(e.get("name", "")), value) for e in run.evaluations if (value := estimate(e.get(key)))]
        if len(found) == 1:
            return Learned("not known yet", measure, found[0][1], when=(found[0][0], ""))
        if found:
            (first_name, first), (last_name, last) = found[0], found[-1]
            moved = change(first, last)
            answer: Answer = "learned" if moved.low > 0 else "got worse" if moved.high < 0 else "no clear change"
            return Learned(answer, measure, first, last, moved, (first_name, last_name))
    return Learned("not evaluated")


def change(first: Estimate, last: Estimate) -> Estimate:
    """last − first, with the interval that their own two intervals give.

    Newcombe's method 10 (Statistics in Medicine 17, 1998) where they are Wilson's; for other intervals the same formula
    is Zou and Donner's MOVER (2008). It takes the two for independent. Here they are of the same prompts, which mostly
    go the same way, so the true interval is narrower: a change that this one calls clear is clear.
    """
    value = last.value - first.value
    low = math.hypot(last.value - last.low, first.high - first.value)
    high = math.hypot(last.high - last.value, first.value - first.low)
    return Estimate(value, max(-1.0, value - low), min(1.0, value + high))


def estimate(value: Any) -> Estimate | None:
    """An estimate from evaluations.jsonl; None where it is absent or of another form."""
    if not isinstance(value, Mapping):
        return None
    numbers = [value.get(key) for key in ("value", "low", "high")]
    return Estimate(*numbers) if all(isinstance(n, int | float) for n in numbers) else None  # type: ignore[arg-type]


def points(moved: Estimate) -> str:
    """A difference of shares in percentage points."""
    text = f"{100 * moved.value:+.1f} points [{100 * moved.low:+.1f}, {100 * moved.high:+.1f}]"
    return text.replace("-", "−")


def evaluation_rows(run: Run) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the table of a run's evaluations."""
    ks = sorted({int(k) for e in run.evaluations for k in e.get("pass_at") or {} if int(k) > 1})
    has = [key for key in ("accuracy", "average") if any(e.get(key) for e in run.evaluations)]
    names = {"accuracy": "greedy accuracy", "average": "avg@k"}
    head = ["evaluation", "step", "prompts", *(names[key] for key in has), *(["change"] if has else [])]
    kinds = THOUGHTS if any(e.get("thoughts") for e in run.evaluations) else ()
    head += [*(f"pass@{k}" for k in ks), "truncated", "unjudged", "tokens", *kinds]
    rows = [_row(run.evaluations, n, has, ks) for n in range(len(run.evaluations))]
    thoughts = [e.get("thoughts") or {} for e in run.evaluations]
    own = [[f"{each[kind]:.3g}" if kind in each else "–" for kind in kinds] for each in thoughts]
    return head, [row + counts for row, counts in zip(rows, own, strict=True)]


def _row(evaluations: Sequence[Mapping[str, Any]], n: int, has: Sequence[str], ks: Sequence[int]) -> list[str]:
    one = evaluations[n]
    values = [estimate(one.get(key)) for key in has]
    first = estimate(evaluations[0].get(has[0])) if has else None
    moved = [points(change(first, values[0])) if n and first and values[0] else "–"] if has else []
    passes = [estimate((one.get("pass_at") or {}).get(str(k))) for k in ks]
    return [
        str(one.get("name", "")),
        str(one.get("step", "")),
        str(one.get("prompts", "")),
        *(str(value or "–") for value in values),
        *moved,
        *(str(value or "–") for value in passes),
        *(f"{100 * one.get(key, 0.0):.1f} %" for key in ("truncated", "unjudged")),
        f"{one.get('tokens_mean', 0.0):.1f}",
    ]
