"""What stages did, over seeds: means of what each run's two evaluations say, in text and on the page."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from prerlkit.cli.render.compare import print_comparison
from prerlkit.cli.render.tables import effect_table as display_table
from prerlkit.compare.comparison import compare
from prerlkit.compare.effects import effect_figures, effect_table, group_effects
from prerlkit.compare.groups import RunGroup
from prerlkit.compare.html import page
from prerlkit.evaluation.effect_words import effect_rows
from prerlkit.evaluation.stage_effect import StageEffect
from prerlkit.report.learned import evaluation_rows
from prerlkit.runs.run import Run


def evaluation(name: str, step: int, wait: float, average: float, **more) -> dict:
    estimate = {"value": average, "low": 0.0, "high": 1.0}
    return {
        "name": name,
        "step": step,
        "average": estimate,
        "pass_at": {"1": estimate, "8": {"value": 0.5 + average, "low": 0.0, "high": 1.0}},
        "samples": 8,
        "sample_tokens_mean": 10.0 + 100 * wait,
        "thoughts": {"reflection": wait, "transition": 0.0},
        **more,
    }


def run(seed: int, wait: float, kl: float) -> Run:
    steps = ({"step": 1, "stage": "warmup", "reward/mean": 0.5, "stage/kl": 0.9},)
    evaluations = (evaluation("before", 0, 0.1, 0.2), evaluation("after warmup", 1, wait, 0.25, kl=kl))
    return Run(Path(f"run{seed}"), {"name": "nsr", "seed": seed}, {}, {}, steps, evaluations, "completed")


RUNS = [run(0, 0.4, 0.06), run(1, 0.6, 0.08)]


def test_figures_are_means_over_seeds_of_quotients_and_differences():
    (one,) = group_effects([RunGroup("nsr", tuple(RUNS), ())])
    assert (one.group, one.stage) == ("nsr", "warmup")
    values = {name: mean.value for name, mean in one.figures.items()}
    assert values == pytest.approx(
        {"KL": 0.07, "reflection ×": 5.0, "avg@8, points": 5.0, "pass@8, points": 5.0, "tokens ×": 3.0}
    )
    head, rows = effect_table([one])
    assert head == ["group", "stage", *values]
    assert rows[0][2].startswith("0.07 [")


def test_what_is_unknown_is_left_out():
    assert effect_figures(StageEffect("rl", 3)) == {}
    assert group_effects([RunGroup("empty", (), ())]) == ()


def test_every_view_shows_them():
    found = compare(RUNS)
    assert found.to_json()["effects"][0]["figures"]["KL"]["value"] == pytest.approx(0.07)
    assert "stage/kl" not in {metric.name for metric in compare(RUNS, metrics=["*"]).metrics}
    console = Console(file=io.StringIO(), width=200)
    print_comparison(console, found)
    assert "what each stage did" in console.file.getvalue()
    assert "reflection ×" in console.file.getvalue()
    assert "What each stage did" in page(found)
    head, rows = effect_rows(RUNS[0].effects)
    assert dict(zip(head, rows[0], strict=True)) == {
        "stage": "warmup",
        "KL": "0.06 nats/token",
        "reflection": "×4 (0.1 → 0.4 per answer)",
        "transition": "0 → 0",
        "avg@8": "20.0 → 25.0 %",
        "pass@8": "70.0 → 75.0 %",
        "tokens": "20.0 → 50.0",
    }
    console.print(display_table(RUNS[0].effects))
    assert "×4 (0.1 → 0.4 per answer)" in console.file.getvalue()


def test_the_table_of_evaluations_has_thoughts_where_they_were_counted():
    head, rows = evaluation_rows(RUNS[0])
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(row["reflection"], row["transition"]) for row in found] == [("0.1", "0"), ("0.4", "0")]
    old = replace(RUNS[0], evaluations=({"name": "before", "step": 0, "tokens_mean": 3.0},))
    assert "reflection" not in evaluation_rows(old)[0]
