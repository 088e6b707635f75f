"""What runs are called on one page: short, and no two the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from prerlkit.runs.run import Run


def labels(runs: Sequence[Run]) -> list[str]:
    """The shortest of name, name and seed, folder, path that tells these runs apart."""
    ways: tuple[Callable[[Run], str], ...] = (
        lambda run: run.name,
        lambda run: f"{run.name}, seed {run.seed}",
        lambda run: run.folder.resolve().name,
        lambda run: str(run.folder),
    )
    for way in ways:
        named = [way(run) for run in runs]
        if len(set(named)) == len(named):
            return named
    seen: Counter[str] = Counter()
    for n, name in enumerate(named):  # one folder given twice
        seen[name] += 1
        named[n] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return named


def duration(seconds: float) -> str:
    """`4 h 05 min`, `7 min 28 s`, `12.3 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """Bytes as GiB."""
    return f"{count / 2**30:.2f} GiB"
