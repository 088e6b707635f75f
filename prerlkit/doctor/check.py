"""What a check is: a piece of the kit tried on this machine's device, with figures and a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from prerlkit.errors import PrerlkitError

Verdict = Literal["ok", "FAILED", "skipped"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        figures: by name and unit, for instance `tokens/s`.
        note: why it failed or was skipped; what a person should know otherwise.
    """

    name: str
    verdict: Verdict
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


class SkippedError(Exception):
    """Raised by a check that this machine has nothing for, with the reason."""


class FailedError(Exception):
    """Raised by a check whose figures are out of bounds."""

    def __init__(self, note: str, figures: Mapping[str, float]) -> None:
        super().__init__(note)
        self.figures = figures


@dataclass(frozen=True, slots=True)
class Bench:
    """What every check gets.

    Attributes:
        folder: for files, deleted afterwards.
        model: the folder of the small model.
        device: `cuda` or `cpu`.
    """

    folder: Path
    model: Path
    device: str


Check = Callable[[Bench], Mapping[str, float]]
"""It returns its figures. A failure is raised."""


def within(figures: Mapping[str, float], name: str, bound: float) -> None:
    """Raise FailedError unless the figure `name` is at most `bound`; a NaN is not."""
    if not figures[name] <= bound:
        raise FailedError(f"{name} is {figures[name]:.3g}, over its bound of {bound:g}", figures)


def run_checks(checks: Mapping[str, Check], bench: Bench) -> Iterator[CheckResult]:
    """Yield the result of each check in order. Whatever a check raises is its result."""
    for name, check in checks.items():
        begun = time.perf_counter()
        figures: Mapping[str, float] = {}
        verdict: Verdict = "ok"
        note = ""
        try:
            figures = check(bench)
        except SkippedError as reason:
            verdict, note = "skipped", str(reason)
        except FailedError as failure:
            verdict, note, figures = "FAILED", str(failure), failure.figures
        except PrerlkitError as error:
            verdict, note = "FAILED", error.message
        except Exception as error:  # noqa: BLE001 -- that something fails on this machine is the finding
            verdict, note = "FAILED", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if bench.device == "cuda":
            torch.cuda.empty_cache()
        yield CheckResult(name, verdict, time.perf_counter() - begun, figures, note)
