"""A run read from its folder (docs/run-folder.md), of whatever version and in whatever state."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.evaluation.effect_words import effect_rows
from prerlkit.evaluation.result import figures_of
from prerlkit.evaluation.stage_effect import StageEffect, stage_effects
from prerlkit.install import pip_install
from prerlkit.page.table import html_table, merged_rows
from prerlkit.page.text import visible
from prerlkit.recipe.load import plain, read_yaml
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import iter_lines, read_json, read_lines, read_metrics
from prerlkit.runs.state import State, state_of

if TYPE_CHECKING:
    from prerlkit.runs.figure import RunFigure

_ODD = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a text leads to where a run writes a number, or a list where it writes an object."""
_LONGEST_REASON = 1_000  # characters of a text in summary.json that are shown


@dataclass(frozen=True, slots=True)
class Run:
    """What a run has written so far. Plain values: a folder of an older version is read as it is.

    The strict view is `trained.TrainedRun`: the recipe checked, and the adapters, for whoever uses the policy.

    Attributes:
        folder: the run folder.
        recipe: the resolved recipe as a mapping.
        environment, summary: of the files of those names; empty where there is none.
        steps: metrics.jsonl, in order (docs/metrics.md).
        evaluations: evaluations.jsonl, in order.
    """

    folder: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    evaluations: tuple[Mapping[str, Any], ...]
    state: State

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read the run in `folder`; no weights, and neither samples nor probes.

        Raises:
            UsageError: it is not a run folder.
            PrerlkitError: one of its JSON files is damaged.
        """
        files = RunFiles(folder)
        if not files.recipe.is_file():
            raise UsageError(
                f"{folder} is not a run folder: there is no recipe.yaml in it.",
                "Name the folder that `prerlkit run` wrote (its --output).",
            )
        recipe, summary = plain(read_yaml(files.recipe)), _shortened(read_json(files.summary))
        steps = _placed(read_metrics(files.metrics), "stage")
        _check_numbers(files.metrics, steps)
        return cls(
            folder,
            recipe,
            read_json(files.environment),
            summary,
            steps,
            _placed(read_lines(files.evaluations), "name"),
            state_of(folder, recipe, summary, steps[-1]["step"] if steps else 0),
        )

    def __repr__(self) -> str:
        """Return one line: which run it is and how far it came."""
        return f"<Run {self.name}, seed {self.seed}, {self.state}, {len(self.steps)} steps, {self.folder}>"

    def _repr_html_(self) -> str:
        """Return the evaluations and what each stage did, as tables for notebooks."""
        rows = [(str(line["name"]), {"step": str(line["step"]), **figures_of(line)}) for line in self.evaluations]
        parts = [f"<p>{escape(visible(repr(self)[1:-1]))}</p>"]
        if rows:
            parts.append(html_table("held-out, 95 % intervals", *merged_rows(rows, "evaluation")))
        if self.effects:
            parts.append(html_table("what each stage did", *effect_rows(self.effects)))
        return "".join(parts)

    def plot(self) -> RunFigure:
        """Return the curves that matter as a matplotlib figure: accuracy, reward, thoughts, KL and length by step.

        A notebook shows the figure. Elsewhere `.savefig("run.png")` writes it.

        Raises:
            UsageError: matplotlib is not installed.
        """
        if find_spec("matplotlib") is None:
            raise UsageError("Curves need matplotlib, which is not installed.", f"Install it: {pip_install('card')}")
        from prerlkit.runs.figure import figure_of

        return figure_of(self)

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.folder)

    @property
    def name(self) -> str:
        return str(self.recipe.get("name", self.folder.name))

    @property
    def seed(self) -> int:
        return int(self.recipe.get("seed", 0))

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that have steps, in order."""
        return tuple(dict.fromkeys(step["stage"] for step in self.steps))

    @property
    def probes(self) -> tuple[Mapping[str, Any], ...]:
        """Lines of probes.jsonl (docs/probes.md); empty where the run had none."""
        return tuple(read_lines(self.files.probes))

    @property
    def missing(self) -> tuple[str, ...]:
        """What the summary names and the files lack, in words: steps and evaluations. Empty for an unfinished run."""
        if self.state != "completed":
            return ()
        found = []
        if len(self.steps) < (done := int(self.summary.get("steps", 0))):
            found.append(f"metrics.jsonl has {len(self.steps)} of {done} steps")
        there = {(line["name"], line["step"]) for line in self.evaluations}
        named = [(line["name"], line["step"]) for line in self.summary.get("evaluations", ())]
        if lost := [f'"{name}"' for name, step in named if (name, step) not in there]:
            found.append(f"evaluations.jsonl lacks {', '.join(lost)}")
        return tuple(found)

    @property
    def effects(self) -> tuple[StageEffect, ...]:
        """What each finished stage did to the policy, in order."""
        return stage_effects(((step["stage"], step) for step in self.steps), self.evaluations)

    def samples(self, steps: Container[int] | None = None) -> Iterator[Mapping[str, Any]]:
        """Return the lines of samples.jsonl, up to a torn one: the file may be larger than memory likes.

        Args:
            steps: only lines of these steps; None: all.
        """
        return iter_lines(self.files.samples, steps)

    def probe_lines(self, steps: Container[int] | None = None) -> Iterator[Mapping[str, Any]]:
        """Return the lines of probes.jsonl in the same way."""
        return iter_lines(self.files.probes, steps)


@contextmanager
def reading_runs() -> Iterator[None]:
    """Turn what values of another kind than a run writes lead to into one message. Their cause stays with it.

    Raises:
        PrerlkitError: a file holds such a value.
    """
    try:
        yield
    except _ODD as error:
        raise PrerlkitError(
            f"A file of a run holds something else than a run writes there ({type(error).__name__}: {error!s:.200}).",
            "Restore the run folder from a copy; -v shows which value it was.",
        ) from error


def _placed(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[Mapping[str, Any], ...]:
    """Lines of a jsonl file up to one without its step and `name`: what is behind it can't be placed."""
    return tuple(
        itertools.takewhile(lambda line: isinstance(line.get("step"), int) and isinstance(line.get(name), str), lines)
    )


def _check_numbers(path: Path, steps: Sequence[Mapping[str, Any]]) -> None:
    """Raise PrerlkitError for a metric that is no number."""
    for line in steps:
        for key, value in line.items():
            if key != "stage" and not isinstance(value, int | float | None):
                shown = f"{value!r:.60}" if isinstance(value, str) else type(value).__name__
                raise PrerlkitError(
                    f"{path}, step {line['step']}: {key[:100]} is no number but {shown}", "Restore it from a copy."
                )


def _shortened(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without text that fills pages, and without a time that is none."""
    kept = {key: value[:_LONGEST_REASON] if isinstance(value, str) else value for key, value in summary.items()}
    if not isinstance(kept.get("wall_seconds"), int | float | None):
        del kept["wall_seconds"]
    return kept
