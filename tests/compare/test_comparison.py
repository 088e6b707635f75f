"""Groups, equal budgets, contrasts and what is said about them, on runs whose numbers are worked out by hand."""

from __future__ import annotations

import json
import math

import pytest

import prerlkit
from prerlkit.compare.comparison import compare
from prerlkit.compare.groups import group
from prerlkit.compare.series import positions, series_of
from prerlkit.errors import UsageError
from prerlkit.runs.find import find_runs
from prerlkit.runs.run import Run


def at(found, metric, axis):
    one = next(m for m in found.metrics if m.name == metric)
    return next(b for b in one.budgets if b.axis == axis)


def test_a_value_at_a_budget(make_run):
    run = Run.open(make_run("a", tokens=100, seconds=2.0))
    assert positions(run)["tokens"] == (0, 100, 200, 300, 400)
    assert positions(run)["seconds"] == (0, 2, 4, 6, 8)
    found = series_of(run)
    accuracy, reward = found["eval/accuracy"], found["reward/mean"]
    assert accuracy.value_at("steps", 0, 5).value == 0.2
    assert accuracy.value_at("steps", 4, 5).value == 0.6
    half = accuracy.value_at("tokens", 200, 5)  # half way from (0, 0.2) to (400, 0.6)
    assert (half.value, half.between) == (pytest.approx(0.4), True)
    assert accuracy.value_at("seconds", 8.0 + 1e-10, 5).between is False
    assert accuracy.value_at("steps", 5, 5) is None  # nobody knows
    assert reward.value_at("steps", 4, 2).value == pytest.approx(0.35)  # mean of the last two
    assert reward.value_at("tokens", 250, 5).value == pytest.approx(0.15)  # steps 1 and 2
    assert reward.value_at("steps", 0, 5) is None


def test_equal_budgets_are_the_smallest_final_ones(make_run):
    # Both do 4 steps; "two" samples half the tokens and takes twice the time.
    for seed in (0, 1, 2):
        make_run(f"one-{seed}", seed=seed)
        make_run(f"two-{seed}", name="two", seed=seed, tokens=50, seconds=4.0)
    found = compare(find_runs([make_run("one-3", seed=3).parent]))
    assert found.budgets == {"steps": 4, "tokens": 200, "seconds": 8}
    assert at(found, "eval/accuracy", "steps").means["two"].value == pytest.approx(0.6)
    tokens = at(found, "eval/accuracy", "tokens")
    assert tokens.means["one"].value == pytest.approx(0.4)
    assert tokens.means["two"].value == pytest.approx(0.6)
    assert (tokens.between["one"], tokens.between["two"]) == (4, 0)
    seconds = at(found, "eval/accuracy", "seconds")
    assert (seconds.means["one"].value, seconds.means["two"].value) == (pytest.approx(0.6), pytest.approx(0.4))
    assert found.costs["two"]["tokens sampled"].value == 200
    assert found.costs["two"]["tokens trained"].value == 100
    assert any("~" in note for note in found.notes)


def test_seeds_are_paired_and_tested_exactly(make_run):
    accuracies = {"one": (0.50, 0.60, 0.70), "two": (0.60, 0.65, 0.85)}
    for name, values in accuracies.items():
        for seed, value in enumerate(values):
            make_run(f"{name}/{seed}", name=name, seed=seed, evaluations=((0, 0.2, {}), (4, value, {})))
    found = compare(find_runs([make_run("one/9", seed=9).parent.parent]))  # seed 9 has no partner
    contrast = at(found, "eval/accuracy", "steps").contrasts["two"]
    assert contrast.pairs == 3
    assert contrast.value == pytest.approx(0.1)  # (0.10 + 0.05 + 0.15) / 3
    half = 4.302653 * 0.05 / 3**0.5 / (1 - 0.1**2)  # on the scale on which ±100 points are infinitely far away
    assert contrast.interval == pytest.approx((math.tanh(math.atanh(0.1) - half), math.tanh(math.atanh(0.1) + half)))
    assert contrast.p == contrast.smallest_p == 0.25
    assert any("can't be below 2^-(n-1): 0.25 with 3 pairs" in note for note in found.notes)
    other = compare(find_runs([make_run("x").parent / "one", make_run("y").parent / "two"]), baseline="two")
    assert at(other, "eval/accuracy", "steps").contrasts["one"].value == pytest.approx(-0.1)


def test_without_a_common_seed_it_is_unpaired_and_says_so(make_run):
    runs = [make_run(f"a{s}", seed=s, evaluations=((4, 0.5 + s / 10, {}),)) for s in (0, 1)]
    runs += [make_run(f"b{s}", name="two", seed=s, evaluations=((4, 0.5 + s / 10, {}),)) for s in (2, 3)]
    found = compare(find_runs(runs))
    contrast = at(found, "eval/accuracy", "steps").contrasts["two"]
    assert (contrast.test, contrast.pairs) == ("Welch", 0)
    assert contrast.value == pytest.approx(0.2)
    assert any("unpaired" in note for note in found.notes)
    assert any("not paired by prompt" in note for note in found.notes)


def test_one_seed_has_no_interval_and_says_so(make_run):
    found = compare(find_runs([make_run("a"), make_run("b", name="two")]))
    assert at(found, "eval/accuracy", "steps").means["one"].interval is None
    assert at(found, "eval/accuracy", "steps").contrasts["two"].p is None
    assert any("one seed only, so no interval and no test: one, two" in note for note in found.notes)


def test_prompts_are_paired_where_both_runs_have_them(make_run):
    before = {"a": 0.0, "b": 1.0, "c": 0.0, "d": 0.0}
    after = {"a": 1.0, "b": 1.0, "c": 1.0, "e": 1.0}  # d was unjudged here, e there
    for seed in (0, 1):
        make_run(f"one/{seed}", seed=seed, evaluations=((0, 0.2, before), (4, 0.25, before)))
        make_run(f"two/{seed}", name="two", seed=seed, evaluations=((4, 0.75, after), (6, 0.8, after)))
    found = compare(find_runs([make_run("one/7", seed=7).parent.parent]))
    (one,) = found.by_prompt
    assert (one.group, one.step, one.seeds) == ("two", 4, (0, 1))
    assert one.difference.estimate.value == pytest.approx(2 / 3)
    assert (one.difference.problems, one.difference.better, one.difference.worse) == (3, 2, 0)


def test_other_data_are_warned_about_and_never_paired_by_prompt(make_run):
    passed = {"a": 1.0, "b": 0.0}
    runs = [
        make_run("a", evaluations=((4, 0.5, passed),)),
        make_run("b", name="two", evaluations=((4, 0.5, passed),), data={"train": {"kind": "hub"}}),
    ]
    found = compare(find_runs(runs))
    assert found.by_prompt == ()
    assert any(text.startswith("data or its split differ (data)") for text in found.warnings)
    assert compare(find_runs([runs[0], make_run("c", name="three")])).warnings == ()


def test_unfinished_and_failed_runs_are_shown_and_left_out(make_run):
    runs = [
        make_run("a"),
        make_run("b", seed=1, reason="failed: OSError: disk"),
        make_run("c", seed=2, reason="stopped"),
        make_run("d", seed=3, reason=None),
        make_run("e", seed=0),
    ]
    (own,) = compare(find_runs(runs)).groups
    assert [run.seed for run in own.runs] == [0]
    assert [o.why for o in own.left_out[:3]] == ["failed", "stopped", "broken off"]
    assert own.left_out[3].why.startswith("seed 0 is there already")
    with pytest.raises(UsageError, match="No run is completed"):
        compare(find_runs(runs[1:3]))


def test_groups_are_what_recipes_differ_in_but_for_the_seed(make_run):
    def stage(rate, rank):
        return [{"name": "rl", "steps": 4, "learning_rate": rate, "adapter": {"rank": rank}}]

    runs = [
        make_run("a", seed=0),
        make_run("b", seed=1, output={"folder": "elsewhere"}),
        make_run("c", seed=0, stages=stage(1e-2, 4)),
        make_run("d", seed=0, adapter={"rank": 8}, stages=stage(1e-3, 8)),
    ]
    labels = [(own.label, len(own.runs)) for own in group(find_runs(runs))]
    assert labels == [
        ("one adapter.rank=4 stages.rl.learning_rate=0.001", 2),
        ("one adapter.rank=4 stages.rl.learning_rate=0.01", 1),
        ("one adapter.rank=8 stages.rl.learning_rate=0.001", 1),
    ]
    by = group(find_runs(runs), ["stages.0.learning_rate"])
    assert [(own.label, len(own.runs)) for own in by] == [
        ("stages.0.learning_rate=0.001", 2), ("stages.0.learning_rate=0.01", 1)
    ]  # fmt: skip
    assert "seed 0 is there already" in by[0].left_out[0].why
    with pytest.raises(UsageError, match=r'no recipe has a key "stages.rl.learning_rat"; did you mean'):
        group(find_runs(runs), ["stages.rl.learning_rat"])


def test_runs_that_differ_within_a_group_are_warned_about(make_run):
    runs = [make_run("a"), make_run("b", seed=1, adapter={"rank": 8})]
    found = compare(find_runs(runs), by=["name"])
    assert any("differ in more than the seed: adapter.rank" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ({"device": "cpu"}, {"device": "cuda"}, "hardware.device"),
        ({"cpu": "AMD EPYC"}, {"cpu": "Apple M4"}, "hardware.cpu"),
        ({"cpu": "AMD EPYC"}, {}, None),  # an older run didn't tell
    ],
)
def test_other_hardware_makes_seconds_incomparable(make_run, first, second, key):
    runs = [make_run("a"), make_run("b", name="two")]
    for run, hardware in zip(runs, (first, second), strict=True):
        (run / "environment.json").write_text(json.dumps({"hardware": {"device": "cpu", "cpu_count": 2, **hardware}}))
    said = [text for text in compare(find_runs(runs)).warnings if "seconds are not comparable" in text]
    assert [key is not None and f"({key}:" in text for text in said] == [True] * (key is not None)


def test_metrics_are_chosen_by_pattern_and_a_wrong_one_is_explained(make_run):
    runs = find_runs([make_run("a", extra={"probe/alignment": 0.5, "health/drift": 1})])
    assert [m.name for m in compare(runs).metrics] == ["eval/accuracy", "reward/mean"]
    assert [m.name for m in compare(runs, metrics=["probe/*", "reward/mean"]).metrics] == [
        "probe/alignment", "reward/mean"
    ]  # fmt: skip
    with pytest.raises(UsageError, match='no run has "reward/maen"; did you mean "reward/mean"'):
        compare(runs, metrics=["reward/maen"])


def test_curves_end_where_the_shortest_seed_does(make_run):
    runs = [make_run("a"), make_run("b", seed=1, rewards=(0.3, 0.4), evaluations=((0, 0.2, {}),))]
    found = compare(find_runs(runs), window=1)
    one = next(m for m in found.metrics if m.name == "reward/mean")
    line = one.curves[0].lines[0]
    assert line.x == (1, 2)
    assert line.y == pytest.approx((0.2, 0.3))
    assert line.low[0] < 0.2 < line.high[0]


def test_a_comparison_is_one_line_and_tables_with_warnings_first(make_run):
    runs = [make_run("x/a"), make_run("x/b", name="<b>", evaluation={"prompts": 8, "greedy": True})]
    found = prerlkit.compare_runs(runs[0].parent)
    assert repr(found) == "<Comparison of one (1 runs), <b> (1 runs); baseline one, 2 metrics>"
    html = found._repr_html_()
    assert html.startswith("<p><b>Not comparable:</b> evaluation settings differ")
    assert html.count("<table>") == 2
    assert "<td>&lt;b&gt; minus one</td>" in html
    assert prerlkit.compare_runs([str(run) for run in runs], metrics=["reward/mean"]).metrics[0].name == "reward/mean"


def test_what_is_no_run_is_explained(tmp_path):
    with pytest.raises(UsageError, match="has none in it"):
        find_runs([tmp_path])
    with pytest.raises(UsageError, match="is no folder"):
        find_runs([tmp_path / "missing"])


def test_runs_that_were_cut_are_named_with_how_far_they_came(make_run):
    runs = [make_run("a", seed=0), make_run("b", seed=1), make_run("c", seed=2, reason=None, rewards=(0.1, 0.2))]
    found = compare(find_runs(runs))
    assert "one: its means are of 2 of 3 seeds: seed 2 broken off after 2 of 4 steps" in found.warnings
    assert [len(own.runs) for own in found.groups] == [2]


def test_a_completed_run_that_lacks_steps_or_evaluations_is_not_compared_by_what_is_left(make_run):
    folders = [make_run("a", seed=0), make_run("b", seed=1), make_run("c", seed=2)]
    whole = {"exit_reason": "completed", "steps": 4, "evaluations": [{"name": "step 4", "step": 4}]}
    for folder in folders:
        (folder / "summary.json").write_text(json.dumps(whole))
    assert compare(find_runs(folders)).warnings == ()
    lines = (folders[1] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folders[1] / "metrics.jsonl").write_text(
        "".join([lines[0], lines[1].replace('"step": 2', '"step"; 2'), *lines[2:]])
    )
    (folders[2] / "evaluations.jsonl").write_text("")
    found = compare(find_runs(folders))
    (own,) = found.groups
    assert [run.seed for run in own.runs] == [0]
    assert [one.why for one in own.left_out] == [
        "metrics.jsonl has 1 of 4 steps", 'evaluations.jsonl lacks "step 4"'
    ]  # fmt: skip
    assert any("1 of 3 seeds: seed 1 is damaged: metrics.jsonl has 1 of 4 steps; seed 2" in w for w in found.warnings)


def test_runs_of_a_group_with_other_steps_or_evaluations_are_named(make_run):
    """A rule ended one of them; another was not evaluated where the others were."""
    runs = [
        make_run("a", seed=0, rewards=(0.1, 0.2, 0.3)),
        make_run("b", seed=1, evaluations=((0, 0.2, {}), (2, 0.3, {}), (4, 0.6, {}))),
    ]
    found = compare(find_runs(runs)).warnings
    assert "one: its runs did 3 to 4 steps: what is compared ends at the least" in found
    assert "one: seed 0 has no evaluation at step 2" in found
