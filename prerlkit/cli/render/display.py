"""What a person sees of a run: bars and small curves on a terminal, one line per step, a table at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from prerlkit.cli.render.remaining import Remaining
from prerlkit.cli.render.step import percent, sampled_lines, step_line
from prerlkit.cli.render.tables import effect_table, evaluation_table
from prerlkit.evaluation.effect_words import THOUGHTS, effect_line
from prerlkit.metrics import catalogue
from prerlkit.runs.files import RunFiles
from prerlkit.secrets import redact

if TYPE_CHECKING:
    from prerlkit.evaluation.result import EvalResult
    from prerlkit.evaluation.stage_effect import StageEffect
    from prerlkit.recipe.schema import Recipe
    from prerlkit.train.run import Summary
    from prerlkit.types import StepRecord

_BARS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 40
_INDENT = "  "
_REGION = 5
"""Lines below the output, always as many. A redraw by rich's own thread between two lines of output would otherwise
erase the lines by which the region has just shrunk (rich 15: `Live.process_renderables`)."""
_ESTIMATED_OVER = 3600.0
"""Seconds over which speeds are averaged. Within rich's own 30 s a step of a large model never ends."""


class Display:
    """A `Callback` that draws. On a terminal it keeps bars at the bottom; in a log file it only prints lines."""

    def __init__(self, console: Console, *, quiet: bool = False, recipe: Recipe | None = None) -> None:
        """Draw on `console`. With the `recipe` it also estimates how long the rest of the whole run takes."""
        self.summary: Summary | None = None
        self._console = console
        self._quiet = quiet
        self._rewards: list[float] = []
        self._accuracies: list[float] = []
        self._progress = Progress(
            TextColumn("{task.description:>17}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=_ESTIMATED_OVER,
        )
        self._stage: TaskID | None = None
        self._work: TaskID | None = None
        self._working_on = ""
        self._show_sample = False
        self._remaining = Remaining(recipe) if recipe else None
        self._trackers = recipe.output.trackers if recipe else ()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, get_renderable=self._render, transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def on_message(self, text: str) -> None:
        whole = "prerlkit " in text  # a command that is copied from a wrapped line would be two
        self._print(Text(redact(f"· {text}"), style="dim"), whole=whole)

    def on_stage_begin(self, name: str, steps: int, done: int) -> None:
        self._show_sample = True
        if self._remaining:
            self._remaining.begin_stage(name, done)
        for task in (self._stage, self._work):
            if task is not None:
                self._progress.remove_task(task)
        self._stage, self._work = self._progress.add_task(name, total=steps, completed=done), None
        self._print(Text(f"stage {name}, {steps} steps" + (f" ({done} done)" if done else ""), style="bold"))

    def progress(self, what: str, done: int, total: int) -> None:
        of = total or None  # rich's bar without a total pulses
        if self._work is None or what != self._working_on:  # a bar for each: its speed is not the last one's
            if self._work is not None:
                self._progress.remove_task(self._work)
            self._work, self._working_on = self._progress.add_task(what, total=of), what
        self._progress.update(self._work, completed=done, total=of)

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        if catalogue.REWARD.name in record.metrics:
            self._rewards.append(record.metrics[catalogue.REWARD.name])
        if self._stage is not None:
            self._progress.update(self._stage, completed=done)
        if self._remaining:
            self._remaining.add_step(record, done)
        self._print(Text(step_line(record, done, steps, self._console.width if self._console.is_terminal else None)))
        if self._show_sample:
            for line in sampled_lines(record, self._console.width):
                self._print(Text(redact(line), style="dim"))
            self._show_sample = False

    def on_evaluate(self, result: EvalResult) -> None:
        self._show_sample = True  # of the step after it
        if self._remaining:
            self._remaining.add_evaluation(result.seconds)
        if result.accuracy:
            self._accuracies.append(result.accuracy.value)
        self._print(Text(f"eval {result.name}: {eval_line(result)}", style="bold"))

    def on_stage_end(self, effect: StageEffect) -> None:
        self._print(Text(effect_line(effect), style="bold"))

    def finish(self, folder: Path, command: str) -> None:
        """The table before/after, where things are, and the next command to type."""
        if self.summary is None:
            return
        summary, console = self.summary, self._console
        if summary.evaluations:
            console.print(evaluation_table(summary.evaluations, console.width))
        if summary.effects:
            console.print(effect_table(summary.effects, console.width))
        minutes, seconds = divmod(round(summary.position.seconds), 60)
        console.print(
            f"{summary.exit_reason} after {summary.position.step} steps in {minutes} min {seconds:02d} s, "
            f"peak memory {summary.peak_memory_bytes / 2**30:.1f} GiB"
        )
        for line in self._tracked(folder):
            console.print(line, markup=False, soft_wrap=True)
        if summary.exit_reason == "stopped":
            console.print(f"continue with:  [bold]{escape(command)}[/bold]", soft_wrap=True)
            return
        for name, where in (
            ("adapter", f"{folder / 'adapter'}  (all stages as one PEFT adapter)"),
            ("metrics", folder / "metrics.jsonl"),
            ("samples", folder / "samples.jsonl"),
        ):
            console.print(f"{name:<12} {where}", markup=False, soft_wrap=True)
        console.print(f"look at it   prerlkit report {escape(str(folder))}", soft_wrap=True)
        console.print("load it with:")
        for line in loading(folder):
            console.print(f"  [bold]{escape(line)}[/bold]", soft_wrap=True)

    def _tracked(self, folder: Path) -> Iterator[str]:
        """Yield where each tracker that received something has written."""
        for use in self._trackers:
            if (folder / "trackers" / f"{use.kind}.json").exists():
                yield f"{use.kind:<12} {use.where(folder)}"

    def _print(self, line: Text, *, whole: bool = False) -> None:
        """Print a line. A terminal that is too narrow breaks it between words, unless it is to stay `whole`."""
        if self._quiet:
            return
        width = self._console.width
        if whole or not self._console.is_terminal or line.cell_len <= width:
            self._console.print(line, soft_wrap=True)
            return
        first, *rest = line.wrap(self._console, width - len(_INDENT))
        self._console.print(Text("\n").join([first, *(Text(_INDENT) + part for part in rest)]), soft_wrap=True)

    def _render(self) -> RenderableType:
        parts = [Text(f"{'rest of run':>17} {left}")] if self._remaining and (left := self._remaining.line()) else []
        for name, values, style in (("reward", self._rewards, "cyan"), ("accuracy", self._accuracies, "green")):
            if values:
                curve = sparkline(values, min(_CURVE_WIDTH, self._console.width - 26))
                parts.append(Text(f"{name:>17} {curve}  {values[-1]:.3f}", style=style))
        for part in parts:
            part.no_wrap, part.overflow = True, "crop"
        bars = max(1, len(self._progress.tasks))
        return Group(self._progress, *parts, *[Text()] * (_REGION - bars - len(parts)))


def loading(folder: Path) -> tuple[str, ...]:
    """Return the lines of Python that load the policy of the run in `folder`, to be pasted."""
    base = json.loads(RunFiles(folder).environment.read_text(encoding="utf-8"))["model"]["path"]
    return (
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        f"base = AutoModelForCausalLM.from_pretrained({json.dumps(base)})",
        f"policy = PeftModel.from_pretrained(base, {json.dumps(str(folder / 'adapter'))})",
    )


def eval_line(result: EvalResult) -> str:
    parts = []
    if result.accuracy:
        parts.append(f"greedy accuracy {result.accuracy}")
    if result.average:
        parts.append(f"avg {result.average}")
    parts += [f"pass@{k} {estimate}" for k, estimate in result.pass_at.items() if k > 1]
    if result.thoughts:
        parts.append(", ".join(f"{kind} {result.thoughts.get(kind, 0.0):.2g}" for kind in THOUGHTS) + " per answer")
    parts.append(f"{result.prompts} prompts, length {result.tokens_mean:.1f}, {result.seconds:.0f} s")
    if result.unjudged:
        parts.append(f"unjudged {percent(result.unjudged)}")
    return "  ".join(parts)


def sparkline(values: Sequence[float], width: int = _CURVE_WIDTH) -> str:
    """Return the last `width` values as a small curve, scaled to their own range."""
    shown = values[-max(1, width) :]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_BARS[min(7, int(8 * (v - low) / span))] for v in shown)
