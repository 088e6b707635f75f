"""The dose curve: what its runs are, what is read from them, the proposed dose, and the command on the tiny model."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from prerlkit.cli.app import app
from prerlkit.dose import words
from prerlkit.dose.curve import DoseCurve, DoseRow, propose, read_curve, settings_of, yaml_of
from prerlkit.dose.html import page
from prerlkit.dose.runs import DoseGrid, default_rates, dose_recipe
from prerlkit.recipe.schema import Recipe


def a_row(rate: float, step: int, kl: float | None, thoughts: float, average: float = 0.2) -> DoseRow:
    counts = {"reflection": thoughts, "transition": thoughts}
    return DoseRow(rate, step, kl, counts, average, average - 0.05, average + 0.05, 0.8, 14.0)


START = a_row(0.0, 0, None, 0.05)


def a_curve(*rows: DoseRow, collapsed: dict | None = None) -> DoseCurve:
    return DoseCurve("warmup", 4, START, rows, collapsed or {})


def test_the_dose_with_most_thoughts_is_proposed_where_kl_is_in_range_and_accuracy_is_kept():
    rows = (
        a_row(1e-4, 10, 0.004, 0.06),
        a_row(3e-4, 10, 0.03, 0.1),
        a_row(3e-4, 20, 0.08, 0.25),
        a_row(1e-3, 5, 0.1, 0.4, average=0.1),  # accuracy is lost
        a_row(1e-3, 10, 0.5, 0.5),  # too far
    )
    found = propose(a_curve(*rows))
    assert found.row == rows[2]
    assert settings_of(a_curve(*rows), rows[2]) == ("stages.warmup.learning_rate=0.0003", "stages.warmup.steps=20")
    stage = YAML(typ="safe").load(yaml_of(a_curve(*rows), rows[2]))[0]
    assert stage == {"name": "warmup", "steps": 20, "learning_rate": 3e-4}


def test_without_thoughts_the_middle_of_the_range_is_proposed():
    rows = (a_row(1e-4, 10, 0.021, 0.0), a_row(3e-4, 10, 0.07, 0.0), a_row(1e-3, 10, 0.19, 0.0))
    assert propose(a_curve(*rows)).row == rows[1]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ((), "nothing is measured"),
        ((a_row(1e-4, 10, 0.001, 0.1),), "larger rates or more steps"),
        ((a_row(1e-4, 10, 1.0, 0.1),), "smaller rates or fewer steps"),
        ((a_row(1e-4, 10, 0.001, 0.1), a_row(1e-3, 10, 1.0, 0.1)), "rates between these"),
        ((a_row(1e-4, 10, 0.1, 0.1, average=0.05),), "loses accuracy"),
    ],
)
def test_where_no_dose_fits_it_says_what_to_try(rows, why):
    found = propose(a_curve(*rows))
    assert found.row is None
    assert why in found.why


def test_table_and_page_hold_the_start_each_dose_and_each_collapse():
    curve = a_curve(a_row(3e-4, 10, 0.03, 0.1), collapsed={1e-3: 14})
    start, dose, collapse = words.rows(curve)
    assert start[:4] == ["–", "0", "–", "0.05 per answer"]
    assert dose[:4] == ["0.0003", "10", "0.03", "2 (0.1 per answer)"]
    assert collapse[:3] == ["0.001", "14", "collapsed"]
    assert len({len(cells) for cells in (words.head(curve), start, dose, collapse)}) == 1
    text = page("tiny", curve, propose(curve))
    assert "Proposed: rate 0.0003" in text
    assert "collapsed" in text


def test_a_run_is_the_first_stage_alone(tiny_recipe):
    plain = tiny_recipe()
    plain["stages"][0]["until"] = {"metric": "reward/mean", "above": 0.9}
    recipe = Recipe.model_validate(plain)
    grid = DoseGrid((1e-3, 1e-2), 4, 2, 4, 2)
    first, second = (dose_recipe(recipe, grid, rate) for rate in grid.rates)
    assert [stage.name for stage in first.stages] == ["warmup"]
    assert (first.stages[0].steps, first.stages[0].learning_rate, first.stages[0].until) == (4, 1e-3, None)
    assert first.stages[0].guard is not None
    assert (first.evaluation.when, second.evaluation.when) == (("before", "after"), ("after",))
    assert grid.evaluations == 5
    assert default_rates(recipe) == (0.003, 0.01, 0.03, 0.1)


def test_the_command_runs_shows_and_continues(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "tiny.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tiny_recipe(), file)
    command = ["dose", "tiny.yaml", "--steps", "2", "--every", "1", "--prompts", "2", "--samples", "2", "--no-color"]
    dry = CliRunner().invoke(app, [*command, "--rates", "1e-2", "--dry-run"])
    assert "1 runs of at most 2 steps" in dry.output or "1 run of at most 2 steps" in dry.output
    assert not (tmp_path / "runs").exists()
    done = CliRunner().invoke(app, [*command, "--rates", "1e-2"])
    assert done.exit_code == 0, done.output
    more = CliRunner().invoke(app, [*command, "--rates", "1e-2,3e-2"])
    assert more.exit_code == 0, more.output
    assert "rate 0.01 (1 of 2): done before" in more.output
    curve = read_curve({rate: tmp_path / "runs" / "tiny-dose" / f"rate-{rate:g}" for rate in (1e-2, 3e-2)})
    assert curve.start is not None
    assert [(row.rate, row.step) for row in curve.rows] == [(0.01, 1), (0.01, 2), (0.03, 1), (0.03, 2)]
    assert all(row.kl is not None for row in curve.rows)
    assert (tmp_path / "runs" / "tiny-dose" / "dose.html").read_text().startswith("<!")
    steps = (tmp_path / "runs" / "tiny-dose" / "rate-0.01" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in steps] == [1, 2]


@pytest.mark.parametrize("rates", ["", "fast", "-1", "0", "1e-3,nan", "inf"])
def test_rates_that_are_none_are_refused(tmp_path, rates):
    done = CliRunner().invoke(app, ["dose", "smoke", f"--rates={rates}"])
    assert done.exit_code == 2
    assert "is not a list of learning rates" in done.output
