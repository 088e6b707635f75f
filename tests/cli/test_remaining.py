"""The rest of a run: steps of all stages, and evaluations by the time of those seen."""

from __future__ import annotations

import io

import pytest

from prerlkit.cli.render.display import Display
from prerlkit.cli.render.remaining import Remaining
from prerlkit.cli.visible import VisibleConsole
from prerlkit.evaluation.result import EvalResult
from prerlkit.metrics.catalogue import PROBES_SECONDS, STEP_SECONDS
from prerlkit.recipe.schema import Recipe
from prerlkit.types import StepRecord


def step(seconds: float = 50.0, probes: float = 10.0) -> StepRecord:
    return StepRecord(1, "warmup", {STEP_SECONDS.name: seconds, PROBES_SECONDS.name: probes}, ())


@pytest.fixture
def run(tiny_recipe):
    """A recipe of 10 and 20 steps of a minute each, its estimate, and a clock to set."""

    def make(**evaluation):
        data = tiny_recipe(evaluation={"prompts": 4, **evaluation})
        for stage, steps in zip(data["stages"], (10, 20), strict=True):
            stage["steps"] = steps
        now = [0.0]
        return Remaining(Recipe.model_validate(data), clock=lambda: now[0]), now

    return make


def test_all_stages_count(run):
    left, now = run(when=[])
    assert left.line() == ""
    left.begin_stage("warmup", 0)
    assert left.line() == ""
    left.add_step(step(), 4)
    assert left.line() == "about 26 min"  # 6 + 20 steps
    now[0] += 90  # time goes by between steps
    assert left.line() == "about 25 min"
    left.begin_stage("rl", 12)  # as after a resume
    left.add_step(step(400, 200), 13)
    assert left.line() == "about 1 h 10 min"


def test_evaluations_count_with_the_mean_of_those_seen(run):
    left, _ = run(every=5)  # in warmup one, in rl at 5, 10 and 15; one after each
    left.begin_stage("warmup", 0)
    left.add_step(step(), 1)
    assert left.line() == "about 29 min and the evaluations"
    left.add_evaluation(100.0)
    left.add_evaluation(140.0)
    left.add_step(step(), 2)
    assert left.line() == "about 40 min"  # 28 steps, 6 evaluations of two minutes
    left.add_step(step(), 5)
    assert left.line() == "about 35 min"  # the evaluation at step 5 is under way


def test_an_estimate_that_is_over_is_not_shown(run):
    left, now = run(when=[])
    left.begin_stage("rl", 0)
    left.add_step(step(), 20)
    now[0] += 1
    assert left.line() == ""


def test_a_terminal_shows_it_below_the_bars(tiny_recipe):
    out = io.StringIO()
    console = VisibleConsole(file=out, width=100, force_terminal=True, no_color=True, highlight=False)
    with Display(console, recipe=Recipe.model_validate(tiny_recipe())) as display:
        display.on_evaluate(EvalResult("before", 0, 4, 1.0))
        display.on_stage_begin("warmup", 2, 0)
        metrics = {"loss/total": 1.5, "optim/grad_norm": 0.25, "tokens/trained": 100, "time/train": 0.5}
        record = StepRecord(1, "warmup", {**metrics, **step().metrics, "optim/skipped": 0}, ())
        display.on_step_end(record, 1, 2)
    assert "rest of run about 4 min" in out.getvalue()
