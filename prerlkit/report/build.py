"""The page of a report, put together from what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

import prerlkit
from prerlkit.evaluation.effect_words import effect_rows
from prerlkit.metrics.catalogue import PEAK_MEMORY, REWARD, TOKENS_GENERATED
from prerlkit.page.shell import Page, Section, asset, render, table
from prerlkit.report import about, curves, health, layers, learned, times
from prerlkit.report.labels import duration, labels, size
from prerlkit.report.rollouts import rollouts
from prerlkit.runs.run import Run, reading_runs

_OWN = "prerlkit.report"


@reading_runs()
def build(folders: Sequence[Path]) -> Page:
    """The report of the runs in these folders, as they are now.

    Raises:
        UsageError: one of them is not a run folder.
        PrerlkitError: one of its JSON files is damaged.
    """
    runs = [Run.open(folder) for folder in folders]
    names = labels(runs)
    shown = rollouts(runs, names)
    sections = [
        _evaluations(runs, names),
        _curves(runs, names),
        *_probes(runs, names),
        _times(runs, names),
        _rollouts(shown),
        _health(runs, names),
        *_others(runs, names),
        _what(runs, names),
        _recipes(runs, names),
        _environments(runs, names),
    ]
    return Page(
        title=names[0] if len(runs) == 1 else f"{len(runs)} runs",
        lead=_lead(runs, names),
        sections=tuple(sections),
        data={"rollouts": shown},
        styles=(asset(_OWN, "report.css"),),
        scripts=(asset(_OWN, "report.js"),),
        groups=tuple((name, n % 8) for n, name in enumerate(names)) if len(runs) > 1 else (),
        footer=f"prerlkit {prerlkit.__version__}, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}. One file; it asks "
        "the network for nothing. Tokens and passwords are taken out; completions are shown as the model wrote them.",
    )


def _lead(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """The first screen: what became of it, and whether it learned."""
    return render(_OWN, "lead.html", cards=[_card(run, name) for run, name in zip(runs, names, strict=True)])


def _card(run: Run, name: str) -> dict[str, Any]:
    answer = learned.learned(run)
    steps, planned = len(run.steps), about.planned_steps(run)
    wall = run.summary.get("wall_seconds") if run.state != "running" else None
    seconds = wall if wall is not None else times.times(run).total
    tokens = sum(step.get(TOKENS_GENERATED.name, 0) for step in run.steps)
    peak = max((step.get(PEAK_MEMORY.name, 0) for step in run.steps), default=0)
    held = health.warnings(run)
    return {
        "name": name,
        "description": about.shareable(str(run.recipe.get("description") or "")),
        "state": run.state,
        "reason": about.shareable(str(run.summary.get("exit_reason", "")).removeprefix("failed: ")),
        "folder": about.shareable(str(run.folder)),
        "answer": answer,
        "moved": learned.points(answer.change) if answer.change else "",
        "rewards": _rewards(run),
        "held": held,
        "steps": f"{steps} of {planned}",
        "facts": [
            ("steps", f"{steps} of {planned}"),
            ("time", duration(seconds)),
            ("tokens generated", f"{tokens:,.0f}"),
            *([("peak memory", size(peak))] if peak else []),
            *about.facts(run),
        ],
        "seconds": duration(seconds),
    }


def _rewards(run: Run) -> tuple[float, float, int] | None:
    """Mean training reward of the first and of the last steps, and of how many."""
    values = [step[REWARD.name] for step in run.steps if REWARD.name in step]
    if not values:
        return None
    count = max(1, min(10, len(values) // 4))
    return sum(values[:count]) / count, sum(values[-count:]) / count, count


def _evaluations(runs: Sequence[Run], names: Sequence[str]) -> Section:
    tables = []
    for run, name in zip(runs, names, strict=True):
        if run.evaluations:
            head, rows = learned.evaluation_rows(run)
            tables.append(table(name if len(runs) > 1 else "Held-out evaluations", head, rows, numbers=range(1, 20)))
        head, rows = effect_rows(run.effects)
        if rows:
            caption = "What each stage did: KL to the policy before it, before → after"
            tables.append(table(f"{name}. {caption}" if len(runs) > 1 else caption, head, rows, numbers=range(1, 20)))
    return Section(
        "evaluations",
        "Before and after",
        Markup().join(tables) or render(_OWN, "nothing.html", text="No evaluation is recorded yet."),
        intro="Held-out prompts, the same each time, with 95 % intervals. A change is the difference from the first "
        "evaluation; its interval takes the two for independent, so it is on the wide side."
        if tables
        else "",
    )


def _curves(runs: Sequence[Run], names: Sequence[str]) -> Section:
    charts = curves.known(runs, names)
    window = curves.smoothing(runs)
    smooth = f" Thin: each step; bold: mean of up to {window} steps of the same stage." if window > 1 else ""
    switch = " Dashed lines: where a stage begins." if any(len(run.stages) > 1 for run in runs) else ""
    body = Markup() if charts else render(_OWN, "nothing.html", text="No step is recorded yet.")
    return Section("curves", "Curves", body, charts, f"One point a step.{switch}{smooth}" if charts else "")


def _probes(runs: Sequence[Run], names: Sequence[str]) -> list[Section]:
    charts = (*curves.probes(runs, names), *layers.layers(runs, names))
    return [Section("probes", "Probes", charts=charts, intro="Measured during the training.")] if charts else []


def _others(runs: Sequence[Run], names: Sequence[str]) -> list[Section]:
    charts, constant = curves.others(runs, names)
    rows = [[name, f"{value:g}"] for name, value in constant.items()]
    body = table("The same in every step", ["metric", "value"], rows, numbers=[1]) if rows else Markup()
    intro = "docs/metrics.md says what each of them is."
    return [Section("metrics", "Other metrics", body, charts, intro)] if charts or rows else []


def _times(runs: Sequence[Run], names: Sequence[str]) -> Section:
    each = [(name, times.times(run)) for run, name in zip(runs, names, strict=True)]
    each = [(name, one) for name, one in each if one.total > 0]
    body = (
        render(_OWN, "times.html", each=each, duration=duration, table_of=times.table_of, several=len(runs) > 1)
        if each
        else render(_OWN, "nothing.html", text="No time is recorded yet.")
    )
    return Section("time", "Time", body)


def _rollouts(shown: Sequence[dict[str, Any]]) -> Section:
    thinned = [run for run in shown if run["kept"] < run["steps"]]
    last = next((run["groups"][-1] for run in reversed(shown) if run["groups"]), None)
    if last is None:
        return Section("rollouts", "Completions", render(_OWN, "nothing.html", text="No completion is recorded yet."))
    prompts = next(run["prompts"] for run in reversed(shown) if run["groups"])
    return Section(
        "rollouts",
        "Completions",
        render(_OWN, "rollouts.html", thinned=thinned, last=last, prompt=prompts[last["prompt"]]),
        intro="The groups that samples.jsonl keeps of each step (output.samples_per_step), with verdicts and reasons. "
        "Green: positive advantage, pushed up; red: negative, pushed down. Without a tint: not trained on."
        + (" Colour by: what the update did to each token." if any(_with_tokens(run) for run in shown) else ""),
        own=True,
    )


def _with_tokens(run: Mapping[str, Any]) -> bool:
    return any(one["shown"] for group in run["groups"] for one in group["completions"])


def _health(runs: Sequence[Run], names: Sequence[str]) -> Section:
    each = [(name, health.warnings(run)) for run, name in zip(runs, names, strict=True)]
    return Section(
        "health",
        "Health",
        render(_OWN, "health.html", each=each, several=len(runs) > 1),
        intro="Conditions of docs/reliability.md that held over the last steps of a stage; docs/troubleshooting.md has "
        "causes and keys.",
    )


def _what(runs: Sequence[Run], names: Sequence[str]) -> Section:
    tables = []
    for run, name in zip(runs, names, strict=True):
        head, rows = about.stage_rows(run)
        tables.append(table(f"Stages of {name}", head, rows, numbers=(2, 4, 5, 6)))
    if len(runs) > 1:
        changed = about.differences(runs)
        caption = "Keys of the recipes that differ" if changed else "The recipes do not differ in any key"
        tables.insert(0, table(caption, ["key", *names], changed))
    return Section("what", "What was run", Markup().join(tables))


def _recipes(runs: Sequence[Run], names: Sequence[str]) -> Section:
    each = [(name, about.recipe_text(run)) for run, name in zip(runs, names, strict=True)]
    return Section(
        "recipe",
        "Recipe",
        render(_OWN, "texts.html", each=each),
        intro=Markup(
            "As resolved: overrides applied, nothing implied. <code>prerlkit run recipe.yaml</code> repeats it."
        ),
    )


def _environments(runs: Sequence[Run], names: Sequence[str]) -> Section:
    tables = [
        table(f"Environment of {name}" if len(runs) > 1 else "environment.json", ["what", "value"], rows)
        for run, name in zip(runs, names, strict=True)
        if (rows := about.environment_rows(run))
    ]
    body = Markup().join(tables) or render(_OWN, "nothing.html", text="No environment is recorded yet.")
    return Section("environment", "Environment", body)
