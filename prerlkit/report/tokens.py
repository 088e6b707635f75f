"""Tokens of completions with their log-probs, as the probe `change` recorded them, made ready to be coloured."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from prerlkit.runs.run import Run

Group = Sequence[Mapping[str, Any]]
"""What the probe recorded of a group's completions, in their order."""
Values = Sequence[float | None]


def token_groups(run: Run, steps: Container[int] | None = None) -> dict[tuple[int, int, str], Group]:
    """Return what probes.jsonl has of each (step, number of the group in it, id of its prompt) in these steps."""
    found = {}
    for line in run.probe_lines(steps):
        for n, group in enumerate((line.get("change") or {}).get("groups") or ()):
            place = (int(line.get("step", 0)), n, str(group.get("prompt_id", "")))
            found[place] = group.get("completions") or ()
    return found


def shown_tokens(recorded: Mapping[str, Any], clean: Callable[[str], str], limit: int) -> dict[str, Any] | None:
    """What report.js reads of one completion's tokens; None where there are none to show.

    `values` are three numbers a token, nats: the update's change of log P(y|x), that of log P(y), and log P(y|x) − log
    P(y) before it. `sums` are over the whole completion, also where `pieces` leave out its middle, beyond `limit`
    characters. A text in which `clean` finds something to hide is not shown by tokens: a secret spans several.
    """
    pieces = [str(piece) for piece in recorded.get("pieces") or ()]
    columns = _columns(recorded)
    whole = "".join(pieces)
    if not pieces or clean(whole) != whole or any(len(own) != len(pieces) for own in columns):
        return None
    head, tail = _ends(pieces, limit)
    if head + tail < len(pieces):
        end = len(pieces) - tail
        pieces = [*pieces[:head], "\n[…]\n", *pieces[end:]]
        shown: list[list[float | None]] = [[*own[:head], None, *own[end:]] for own in columns]
    else:
        shown = columns
    sums = [_digits(sum(value for value in own if value is not None), 3) for own in columns]
    return {"pieces": pieces, "values": [[_digits(value, 2) for value in own] for own in shown], "sums": sums}


def _columns(recorded: Mapping[str, Any]) -> list[list[float | None]]:
    behind, alone = recorded.get("conditional") or (), recorded.get("pretrain") or ()
    changes = [recorded.get(f"{space}_change") or () for space in ("conditional", "pretrain")]
    gaps = [None if a is None or b is None else a - b for a, b in zip(behind, alone, strict=False)]
    return [list(own) for own in (*changes, gaps)]


def _digits(value: float | None, digits: int) -> float | None:
    """So many significant digits: more can't be seen, and bytes count. Not a number: nothing."""
    return None if value is None or value - value != 0 else float(f"{value:.{digits}g}")


def _ends(pieces: Sequence[str], limit: int) -> tuple[int, int]:
    """How many tokens of the beginning and of the end are shown; all of them where they have `limit` characters."""
    if sum(map(len, pieces)) <= limit:
        return len(pieces), 0
    return _fitting(pieces, limit - limit // 4), _fitting(pieces[::-1], limit // 4)


def _fitting(pieces: Sequence[str], limit: int) -> int:
    total = 0
    for n, piece in enumerate(pieces):
        total += len(piece)
        if total > limit:
            return n
    return len(pieces)
