"""The page of a report as a file: what is in it for every kind of run, and how large it gets."""

import json
import re

import pytest

from prerlkit.errors import UsageError
from prerlkit.report import about, curves, health, times, tokens
from prerlkit.report.build import build
from prerlkit.report.labels import duration, labels
from prerlkit.report.rollouts import rollouts
from prerlkit.runs import lock
from prerlkit.runs.jsonl import read_lines
from prerlkit.runs.run import Run


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="prerlkit-data">(.*?)</script>', text, re.DOTALL)[1])


def change_lines(file, change):
    lines = [change(line) for line in read_lines(file)]  # without their checks
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "steps_shown"), [(0, 100), (5, 50)])
def test_a_thousand_steps_take_less_than_five_megabytes_and_no_point_is_lost(make_run, tokens, steps_shown):
    folder = make_run("long", steps=(200, 800), tokens=tokens, more={f"probe/many/{n}": 0.1 * n for n in range(20)})
    text = build([folder]).render()
    assert 1e6 < len(text.encode()) < 5e6
    data = data_of(text)
    reward = data["charts"]["reward"]
    assert reward["x"] == list(range(1, 1001))
    recorded = [step["reward/mean"] for step in Run.open(folder).steps]
    assert reward["lines"][0]["y"] == pytest.approx(recorded, rel=1e-4)
    assert [mark["label"] for mark in reward["marks"]] == ["warmup", "rl"]
    assert [mark["x"] for mark in reward["marks"]] == [0.5, 200.5]
    (shown,) = data["data"]["rollouts"]
    steps = sorted({group["step"] for group in shown["groups"]})
    assert (steps[0], steps[-1]) == (1, 1000)
    assert len(steps) == shown["kept"] > steps_shown
    coloured = {group["step"] for group in shown["groups"] if group["completions"][0]["shown"]}
    assert bool(tokens) == (len(coloured) > 5)
    assert f"{shown['kept']} of 1000 steps are here" in text


def test_the_bold_mean_does_not_look_across_the_switch(make_run):
    folder = make_run("long", steps=(50, 50))
    change_lines(folder / "metrics.jsonl", lambda line: {**line, "reward/mean": float(line["stage"] == "rl")})
    chart = next(chart for chart in curves.known([Run.open(folder)], ["long"]) if chart.id == "reward")
    faint, bold = chart.lines
    assert (faint.look, bold.look) == ("faint", "line")
    assert bold.y == [0.0] * 50 + [1.0] * 50
    assert curves.smoothing([Run.open(folder)]) == 5


def test_the_bold_mean_is_of_the_last_steps():
    assert curves._means([1.0, 2.0, 3.0, 4.0, 10.0], ["a"] * 4 + ["b"], 2) == [1.0, 1.5, 2.5, 3.5, 10.0]


def test_every_probe_has_a_curve_by_whatever_name(make_run):
    folder = make_run(more={"probe/alignment": 0.5, "probe/never/heard of": 2.0})
    charts = data_of(build([folder]).render())["charts"]
    titles = {chart["title"]: chart for chart in charts.values()}
    assert titles["alignment"]["x"] == list(range(1, 31, 2))
    assert set(titles["never/heard of"]["lines"][0]["y"]) == {2}
    assert "tokens/generated" in titles
    assert "reward/mean" not in titles  # it is the reward's chart already
    assert "policy/kl" not in titles  # 0 all through: a line in a table


def test_phases_add_up_to_the_wall_time(make_run):
    run = Run.open(make_run())
    found = times.times(run)
    assert found.phases == ("rollout", "weight sync", "verification", "training")
    steps = sum(step["time/step"] for step in run.steps)
    assert sum(sum(seconds) for _, _, seconds in found.stages) == pytest.approx(steps)
    assert found.evaluation == 120
    assert found.rest == pytest.approx(30)
    assert found.total == pytest.approx(run.summary["wall_seconds"])


def test_health_warnings_tell_when_they_held_and_what_to_do(make_run):
    folder = make_run(steps=(5, 55))

    def sick(line):
        if line["step"] < 20:
            return line
        held = {"health/no_signal": 1.0} if 40 <= line["step"] <= 50 or line["step"] == 60 else {}
        return {**line, "group/zero_signal": 1.0, **held}

    change_lines(folder / "metrics.jsonl", sick)
    first, second = health.warnings(Run.open(folder))
    assert (first.name, first.stage, first.first, first.last, first.now) == ("no_signal", "rl", 40, 50, False)
    assert (second.first, second.last, second.now) == (60, 60, True)
    assert first.message.startswith("100% of the groups had equal scores in the last 20 steps")
    assert "another difficulty" in first.advice
    text = build([folder]).render()
    assert "2 health warnings" in text


def test_advantages_are_those_of_the_training(make_run):
    folder = make_run(done=11)
    scores = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, None, 0.0]

    def judge(line):
        for completion, score in zip(line["completions"], scores, strict=True):
            completion |= {"score": score, "passed": None if score is None else bool(score)}
        return line

    change_lines(folder / "samples.jsonl", judge)
    (shown,) = rollouts([Run.open(folder)], ["made"])
    warmup, rl = shown["groups"][0]["completions"], shown["groups"][-1]["completions"]
    # NSR-PreRL: r − mean, and only what is negative is trained on. Mean of the judged: 2/7.
    assert [c["advantage"] for c in warmup] == [0.714, -0.286, -0.286, 0.714, -0.286, -0.286, None, -0.286]
    assert [c["trained"] for c in warmup] == [False, True, True, False, True, True, False, True]
    # GRPO: divided by the sample std, √(10/7 · 1/6) = 0.488.
    assert rl[0]["advantage"] == pytest.approx(1.464, abs=1e-3)
    assert [c["trained"] for c in rl] == [True] * 6 + [False, True]


def test_a_recipe_of_another_version_leaves_advantages_open(make_run):
    folder = make_run()
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace("kind: group_mean", "kind: from_the_future"))
    (shown,) = rollouts([Run.open(folder)], ["made"])
    assert shown["groups"][0]["completions"][0]["advantage"] is None
    assert shown["groups"][-1]["completions"][0]["advantage"] is not None
    assert "of another version" in build([folder]).render()


def test_hostile_completions_stay_text_and_are_cut(make_run, hostile):
    folder = make_run(texts=hostile)
    text = build([folder]).render()
    text.encode()
    assert "<script>window" not in text
    assert "onerror='" not in text.replace("&#39;", "'").split('id="prerlkit-data"')[0].split("<noscript>")[0]
    (shown,) = data_of(text)["data"]["rollouts"]
    texts = [c["text"] for c in shown["groups"][0]["completions"]]
    assert texts[0] == hostile[0]
    assert texts[2].startswith("[U+001B][31mred[U+0007] [U+0000] nul [U+202E]")
    assert len(texts[4]) < 3100
    assert shown["groups"][0]["completions"][4]["characters"] == 100_000
    assert texts[5] == hostile[5]


def test_tokens_are_those_of_their_completion_or_of_none(make_run):
    folder = make_run(done=2, tokens=1)
    change_lines(folder / "probes.jsonl", lambda line: line if line["step"] == 1 else {**line, "change": {}})
    (shown,) = rollouts([Run.open(folder)], ["made"])
    recorded = json.loads((folder / "probes.jsonl").read_text().splitlines()[0])["change"]["groups"]
    one = shown["groups"][1]["completions"][3]
    own = recorded[1]["completions"][3]
    assert one["shown"]["pieces"] == own["pieces"]
    assert "".join(one["shown"]["pieces"]) == one["text"] + "<end>"
    given, alone, prompt = one["shown"]["values"]
    assert given == pytest.approx(own["conditional_change"], rel=0.06)
    assert alone == pytest.approx(own["pretrain_change"], rel=0.06)
    assert prompt == pytest.approx([a - b for a, b in zip(own["conditional"], own["pretrain"], strict=True)], rel=0.06)
    assert one["shown"]["sums"][0] == pytest.approx(sum(own["conditional_change"]), rel=0.01, abs=1e-9)
    assert {c["shown"] for g in shown["groups"] if g["step"] == 2 for c in g["completions"]} == {None}
    # Another prompt in that place: its tokens are not these.
    change_lines(folder / "samples.jsonl", lambda line: {**line, "prompt_id": "another"})
    (shown,) = rollouts([Run.open(folder)], ["made"])
    assert {c["shown"] is None for g in shown["groups"] for c in g["completions"]} == {True}


def test_the_middle_of_a_long_completion_has_no_tokens_and_its_sum_has():
    recorded = {"pieces": ["ab"] * 100, "conditional": [-1.0] * 100, "pretrain": [-2.5] * 100}
    recorded |= {"conditional_change": [0.01] * 100, "pretrain_change": [None] * 100}
    shown = tokens.shown_tokens(recorded, str, 40)
    assert shown["pieces"] == ["ab"] * 15 + ["\n[…]\n"] + ["ab"] * 5
    assert shown["values"][0] == [0.01] * 15 + [None] + [0.01] * 5
    assert shown["values"][2] == [1.5] * 15 + [None] + [1.5] * 5
    assert shown["sums"] == [1.0, 0.0, 150.0]


def test_a_secret_is_not_read_from_tokens():
    numbers = {key: [0.0] * 2 for key in ("conditional", "pretrain", "conditional_change", "pretrain_change")}
    recorded = {"pieces": ["sec", "ret"], **numbers}
    assert tokens.shown_tokens(recorded, str, 40) is not None
    assert tokens.shown_tokens(recorded, lambda text: text.replace("secret", "[hidden]"), 40) is None
    assert tokens.shown_tokens({**recorded, "pretrain": [0.0]}, str, 40) is None  # torn


def test_steps_that_are_too_much_by_themselves_are_left_out(make_run):
    run = Run.open(make_run(done=3))
    (all_,) = rollouts([run], ["made"])
    size = len(json.dumps(all_))
    (last,) = rollouts([run], ["made"], budget=size // 3 + 500)
    assert {group["step"] for group in last["groups"]} == {3}
    (none,) = rollouts([run], ["made"], budget=100)
    assert (none["groups"], none["kept"], none["steps"]) == ([], 0, 3)


def test_secrets_and_home_are_not_in_it(make_run, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "s3cretvalue99")
    monkeypatch.setenv("HOME", "/home/somebody")
    token = "hf_" + "a" * 30
    folder = make_run(done=2, texts=(f"my key is s3cretvalue99, {token}",), reason="failed: x: s3cretvalue99")
    environment = {"model": {"origin": "/home/somebody/models/x"}, "url": "https://me:pass@host/x"}
    (folder / "environment.json").write_text(json.dumps(environment))
    text = build([folder]).render()
    assert "my key is [hidden], [hidden]" in text
    for secret in ("s3cretvalue99", token, "me:pass", "/home/somebody"):
        assert secret not in text
    assert "~/models/x" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"done": 13, "reason": "failed: OSError: disk full"}, ["The run failed.", "OSError: disk full", "13 of 30"]),
        ({"done": 7, "reason": None}, ["The run broke off", "after 7 of 30 steps"]),
        ({"done": 7, "reason": "stopped"}, ["The run was stopped"]),
        ({"done": 0, "reason": None, "evaluations": False}, ["No step is recorded yet", "not evaluated"]),
        ({"reason": "completed"}, ["learned", "completed", "+43.0 points"]),
    ],
)
def test_every_end_of_a_run_is_told(make_run, options, words):
    text = build([make_run(**options)]).render()
    assert [word for word in words if word not in text] == []


def test_a_run_that_goes_on_and_is_torn_is_told(make_run):
    folder = make_run(done=4, reason=None)
    for file in ("metrics.jsonl", "samples.jsonl", "evaluations.jsonl"):
        with (folder / file).open("a") as lines:
            lines.write('{"step": 5, "sta')
    with lock.locked(folder):
        text = build([folder]).render()
    assert ">running<" in text
    assert "4 of 30" in text
    assert "broke off" not in text


@pytest.mark.parametrize(("done", "reason", "steps"), [(None, "completed", "24 of 24"), (6, "stopped", "6 of 24")])
def test_a_stage_that_its_rule_ended_lacks_no_step(make_run, done, reason, steps):
    """warmup was planned with 10 steps and ended after 4."""
    folder = make_run(steps=(4, 20), done=done, reason=reason)
    recipe = (folder / "recipe.yaml").read_text().replace("steps: 4\n", "steps: 10\n")
    rule = "until: {metric: reward/mean, above: 0.5}"
    (folder / "recipe.yaml").write_text(re.sub(r"until: *(null)?\n", f"{rule}\n", recipe, count=1))
    run = Run.open(folder)
    assert run.recipe["stages"][0]["until"]["above"] == 0.5
    assert about.ended_early(run) == {"warmup"}
    assert f"<dd>{steps}</dd>" in build([folder]).render()
    assert about.stage_rows(run)[1][0][2] == "4 of 10, ended by its rule"
    unruled = recipe  # without a rule they are missing
    (folder / "recipe.yaml").write_text(unruled)
    assert (about.ended_early(Run.open(folder)), about.planned_steps(Run.open(folder))) == (frozenset(), 30)


def test_a_stage_that_its_guard_ended_says_which_adapter_is_restored(make_run):
    """warmup was planned with 20 steps and collapsed at the 7th."""
    folder = make_run(steps=(10, 20))
    recipe = (folder / "recipe.yaml").read_text().replace("steps: 10\n", "steps: 20\n", 1)
    guard = "guard: {pass_rate: 0.5, window: 3}"
    (folder / "recipe.yaml").write_text(re.sub(r"guard: *(null)?\n", f"{guard}\n", recipe, count=1))

    def collapse(line):
        passed = 0.3 if line["step"] < 7 or line["stage"] == "rl" else 0.0
        silent = 1.0 if passed == 0 else 0.0
        return {**line, "reward/pass_rate": passed, "group/zero_signal": silent, "sample/unjudged": 0.0}

    change_lines(folder / "metrics.jsonl", collapse)
    run = Run.open(folder)
    assert about.stage_rows(run)[1][0][2] == "10 of 20, ended by its guard: the adapter after step 5 is restored"
    assert about.planned_steps(run) == 30


def test_a_stage_with_a_rule_that_is_not_over_still_has_its_steps(make_run):
    folder = make_run(steps=(10, 20), done=4, reason="stopped")
    change_lines(folder / "evaluations.jsonl", lambda line: {**line, "name": "before"})
    recipe = (folder / "recipe.yaml").read_text()
    rule = "until: {metric: reward/mean, above: 0.5}"
    (folder / "recipe.yaml").write_text(re.sub(r"until: *(null)?\n", f"{rule}\n", recipe, count=1))
    assert about.planned_steps(Run.open(folder)) == 30


def test_several_runs_are_laid_over_each_other(make_run):
    folders = [make_run(seed=0), make_run(seed=1), make_run("other", seed=2, steps=(5, 25), done=12, reason=None)]
    text = build(folders).render()
    data = data_of(text)
    lines = data["charts"]["reward"]["lines"]
    assert [line["name"] for line in lines] == ["made, seed 0", "made, seed 1", "other, seed 2"]
    assert [line["color"] for line in lines] == [0, 1, 2]
    # They switch at different steps: a line in the colour of the run whose alone it is.
    assert data["charts"]["reward"]["marks"] == [
        {"x": 5.5, "label": "", "color": 2},
        {"x": 10.5, "label": "", "color": None},
    ]
    assert len(data["charts"]["held_out"]["lines"]) == 3
    assert [run["name"] for run in data["data"]["rollouts"]] == ["made, seed 0", "made, seed 1", "other, seed 2"]
    differing = about.differences([Run.open(folder) for folder in folders])
    assert ["seed", "0", "1", "2"] in differing
    assert ["stages.0.steps", "10", "10", "5"] in differing
    assert "model.id" not in [row[0] for row in differing]


def test_runs_are_called_by_what_tells_them_apart(make_run):
    one, two = Run.open(make_run(seed=0)), Run.open(make_run("other"))
    assert labels([one]) == ["made"]
    assert labels([one, two]) == ["made", "other"]
    assert labels([one, Run.open(make_run(seed=1))]) == ["made, seed 0", "made, seed 1"]
    assert len(set(labels([one, one]))) == 2


def test_objectives_go_by_their_presets_names():
    assert about.objective_name("nsr-prerl") == "nsr-prerl"
    assert about.objective_name({"preset": "grpo", "coefficient": 0.5}) == "0.5 × grpo"
    own = {"preset": "grpo", "aggregate": "sequence_mean"}
    assert about.objective_name(own) == "conditional · all · group_std · clip · sequence_mean"


def test_durations_are_read_at_a_glance():
    assert [duration(s) for s in (0.04, 59.94, 448, 7230)] == ["0.0 s", "59.9 s", "7 min 28 s", "2 h 00 min"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        build([tmp_path])
