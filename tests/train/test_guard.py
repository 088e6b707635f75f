"""A stage's guard: when it acts and when chance explains it, what it restores, and that a resumed run does the same."""

from __future__ import annotations

import json
import random

import pytest
from safetensors.torch import load_file

from prerlkit.recipe.schema import Stage
from prerlkit.train.guard import collapsed, is_good, last_good


def a_stage(*, prompts: int = 16, samples: int = 8, steps: int = 20, **guard) -> Stage:
    return Stage.model_validate(
        {
            "name": "warmup",
            "objective": "nsr-prerl",
            "steps": steps,
            "learning_rate": 1.0,
            "guard": guard,
            "rollout": {"group_size": samples, "prompts_per_step": prompts},
        }
    )


def a_step(rate: float, silent: float | None = None, unjudged: float = 0.0):
    if silent is None:
        silent = float(rate in (0.0, 1.0))
    return ("warmup", {"reward/pass_rate": rate, "group/zero_signal": silent, "sample/unjudged": unjudged})


def history(*rates: float):
    return [a_step(rate) for rate in rates]


GOOD = (0.2, 0.22, 0.19, 0.21, 0.2, 0.18)


@pytest.mark.parametrize(
    ("past", "acts", "good"),
    [
        (history(*GOOD), False, 5),
        (history(*GOOD, 0.11, 0.01, 0.0, 0.0), True, 6),  # the seventh step's policy is one of six updates
        (history(*GOOD, 0.09, 0.0, 0.01, 0.0), True, 5),  # below half by itself: not good, whatever the mean says
        (history(*GOOD, 0.0, 0.0), False, 5),
        (history(*GOOD, 0.0, 0.0, 0.0), True, 5),
        (history(*GOOD, 0.09, 0.09, 0.09), False, 5),  # below half, but by less than chance
        (history(0.2, 0.0, 0.0, 0.0), False, 0),
        (history(0.2, *[0.0] * 8), True, 0),  # at once: the stage's start
        (history(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), False, 0),  # nothing was lost
        (history(0.6, 0.8, 0.9, 1.0, 1.0, 1.0, 1.0), False, 6),  # all pass: no signal, and nothing lost
        ([*history(*GOOD), *(a_step(0.0, 1.0, unjudged=1.0) for _ in range(6))], False, 5),  # no verdict says nothing
        ([*history(*GOOD), *(a_step(0.5, 1.0) for _ in range(5))], True, 5),  # each prompt always or never
    ],
)
def test_when_it_acts_and_what_was_good(past, acts, good):
    assert bool(collapsed(a_stage(), past)) == acts
    assert last_good(a_stage(), past) == good


def fallen_by_definition(stage, rates, unjudged) -> str:
    """The guard's comparison with both means made from scratch for each width."""
    weights = [1 - part for part in unjudged]
    samples = stage.rollout.group_size
    share = stage.guard.pass_rate
    for width in range(stage.guard.window, len(rates) // 2 + 1):
        start, now = (
            sum(w * r for w, r in zip(weights[part], rates[part], strict=True)) / sum(weights[part])
            for part in (slice(width), slice(-width, None))
        )
        first, last = (
            sum(weights[part]) * stage.rollout.prompts_per_step * 2 * samples / (samples + 1)
            for part in (slice(width), slice(-width, None))
        )
        variance = share**2 * start * (1 - start) / first + share * start * (1 - share * start) / last
        if share * start - now > 1.5 * variance**0.5:
            return f"{now:.1%} of the completions passed in its last {width} steps, {start:.1%} in its first {width}"
    return ""


def test_it_compares_the_first_and_last_steps_of_every_width():
    draws, found = random.Random(0), []
    for _ in range(300):
        length, window = draws.randint(1, 60), draws.randint(2, 6)
        level, fall = draws.uniform(0.1, 0.9), draws.choice([0.0, 0.0, 0.01, 0.03])
        rates = [min(1.0, max(0.0, level - fall * n + draws.uniform(-0.1, 0.1))) for n in range(length)]
        unjudged = [draws.choice([0.0, 0.0, 0.25, 0.9]) for _ in rates]
        stage = a_stage(prompts=draws.choice([1, 4, 16]), steps=100, window=window)
        past = [a_step(rate, 0.0, part) for rate, part in zip(rates, unjudged, strict=True)]
        wanted = fallen_by_definition(stage, rates, unjudged)
        found.append(wanted)
        assert wanted in collapsed(stage, past)
        assert bool(wanted) == bool(collapsed(stage, past))
    assert 50 < sum(map(bool, found)) < 250


def test_short_series_without_signal_are_no_loss_where_they_are_usual():
    """A hard task: half of its steps hold no pass at all."""
    past = history(0.02, 0.0, 0.02, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0)
    assert not collapsed(a_stage(), past)
    assert collapsed(a_stage(), [*past, *history(*[0.0] * 12)])


def test_it_says_why_and_what_is_restored():
    said = collapsed(a_stage(), history(*GOOD, 0.11, 0.01, 0.0, 0.0))
    assert said == (
        'stage "warmup" is ended by its guard after 10 of 20 steps: 0.3% of the completions passed in its last '
        "3 steps, 20.3% in its first 3; the adapter after step 6 is restored"
    )
    assert "the adapter of the stage's start is restored" in collapsed(a_stage(), history(0.2, *[0.0] * 8))
    assert collapsed(a_stage(pass_rate=0.0), history(*GOOD, 0.11, 0.01, 0.001)) == ""
    assert collapsed(a_stage().model_copy(update={"guard": None}), history(*GOOD, 0.0, 0.0, 0.0)) == ""


def test_another_stage_is_not_looked_at():
    assert not collapsed(a_stage(), [("rl", metrics) for _, metrics in history(*GOOD, 0.0, 0.0, 0.0)])


@pytest.mark.parametrize(("prompts", "rate"), [(16, 0.2), (16, 0.06), (8, 0.4), (4, 0.5), (16, 0.02)])
def test_chance_alone_seldom_ends_a_stage(prompts, rate):
    """200 stages of 20 steps in which nothing changes; prompts differ in difficulty. At most 3 % are ended."""
    draw, ended = random.Random(0), 0
    for _ in range(200):
        past = []
        for _ in range(20):
            # Pass rates by prompt: Beta with the correlation 1/3 between samples of one prompt.
            groups = [
                sum(draw.random() < difficulty for _ in range(8))
                for difficulty in (draw.betavariate(2 * rate, 2 * (1 - rate)) for _ in range(prompts))
            ]
            silent = sum(passed in (0, 8) for passed in groups) / prompts
            past.append(a_step(sum(groups) / (8 * prompts), silent))
            if collapsed(a_stage(prompts=prompts), past):
                ended += 1
                break
    assert ended <= 6


STEPS = 32
"""Of a warm-up that collapses: with nine rates and seeds it took 10 to 20 steps."""

BACKWARDS = """
from prerlkit.objective.plugins import AdvantageFunction


class Backwards(AdvantageFunction):
    def advantages(self, rewards, passed):
        mean = sum(rewards) / len(rewards)
        return [mean - reward for reward in rewards]
"""


@pytest.fixture(scope="module")
def backwards(tmp_path_factory):
    """An advantage that rewards what is wrong, as a recipe names it."""
    file = tmp_path_factory.mktemp("plugin") / "backwards.py"
    file.write_text(BACKWARDS)
    return f"{file}:Backwards"


@pytest.fixture
def recipe(tiny_recipe, backwards):
    """A warm-up that rewards what is wrong, until nothing passes; then GRPO."""
    plain = tiny_recipe(adapter={"rank": 2, "alpha": 4, "dropout": 0.1})
    plain["rollout"] |= {"prompts_per_step": 4, "group_size": 6}
    worse = {"preset": "grpo", "advantage": backwards}
    guard = {"window": 2, "pass_rate": 0.6}
    plain["stages"][0] |= {"objective": worse, "steps": STEPS, "learning_rate": 0.05, "guard": guard}
    return plain


def ended(folder) -> int:
    """Return how many steps the warm-up had."""
    stages = [json.loads(line)["stage"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return stages.count("warmup")


def test_a_collapse_ends_the_stage_and_the_last_good_adapter_is_the_ground_of_the_next(go, lines, recipe, tmp_path):
    _, callback = go(recipe, tmp_path / "out")
    done = ended(tmp_path / "out")
    assert 3 <= done < STEPS
    (said,) = [note for note in callback.notes if "ended by its guard" in note]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    good = summary["stages"][0]["restored"]
    assert f"after {done} of {STEPS} steps" in said
    assert good < done
    assert "restored" not in summary["stages"][1]
    # The same warm-up with just as many steps as were good, without a guard: the same bytes.
    short = {**recipe, "stages": [{**recipe["stages"][0], "steps": good, "guard": None}, recipe["stages"][1]]}
    go(short, tmp_path / "short")
    one, other = (
        load_file(tmp_path / name / "adapters" / "warmup" / "adapter_model.safetensors") for name in ("out", "short")
    )
    assert all((one[key] == other[key]).all() for key in one)
    assert [e["name"] for e in lines(tmp_path / "out" / "evaluations.jsonl")] == ["before", "after warmup", "after rl"]
    measured = [lines(tmp_path / name / "evaluations.jsonl")[1] for name in ("out", "short")]
    assert measured[0]["accuracy"] == measured[1]["accuracy"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Where the uninterrupted runs of the next test lie, by how the second stage begins."""
    return tmp_path_factory.mktemp("straight")


@pytest.mark.parametrize(
    ("when", "reincarnation"), [(-2, "stack"), (-1, "stack"), (0, "stack"), (1, "stack"), (0, "continue")]
)
def test_a_resumed_run_is_guarded_as_a_straight_one(go, same_run, recipe, tmp_path, straight, when, reincarnation):
    """Stopped before, at and after the step in which the guard acts."""
    recipe["stages"][1] |= {"reincarnation": reincarnation, "keep_optimizer": reincarnation == "continue"}
    whole = straight / reincarnation
    if not whole.exists():
        go(recipe, whole)
    go(recipe, tmp_path / "parts", stop_after=ended(whole) + when)
    go(recipe, tmp_path / "parts", existing="resume")
    same_run(whole, tmp_path / "parts")
    for file in ("adapters/warmup/adapter_model.safetensors", "adapters/rl/adapter_model.safetensors"):
        assert (whole / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


def test_the_last_step_of_a_stage_is_guarded_too(go, recipe, tmp_path, straight):
    """Planned with just as many steps as it had when the guard ended it."""
    if not (straight / "stack").exists():
        go(recipe, straight / "stack")
    recipe["stages"] = [{**recipe["stages"][0], "steps": ended(straight / "stack")}]
    _, callback = go(recipe, tmp_path / "shorter")
    assert any("ended by its guard" in note for note in callback.notes)
    weights = "adapters/warmup/adapter_model.safetensors"
    assert (straight / "stack" / weights).read_bytes() == (tmp_path / "shorter" / weights).read_bytes()


def test_only_a_step_that_was_judged_can_show_that_its_policy_is_good():
    past = history(*GOOD)
    assert is_good(a_stage(), past)
    assert not is_good(a_stage(), [*past, a_step(0.0, 1.0, unjudged=1.0)])
