"""The command: text, JSON and a page that holds the same numbers and lets nothing in."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from prerlkit.cli.app import app

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture
def runs(make_run):
    for seed, (one, two) in enumerate([(0.5, 0.6), (0.6, 0.65), (0.7, 0.85)]):
        make_run(f"all/one-{seed}", seed=seed, evaluations=((0, 0.2, {"a": 0.0}), (4, one, {"a": 0.0})))
        evaluations = ((0, 0.2, {"a": 0.0}), (4, two, {"a": 1.0}))
        path = make_run(f"all/two-{seed}", name=EVIL, seed=seed, evaluations=evaluations, seconds=4.0)
    make_run("all/dead", seed=7, reason="failed: OSError: disk")
    return path.parent


def invoke(*words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def test_text_says_values_differences_costs_and_what_was_left_out(runs, monkeypatch):
    done = invoke(runs, monkeypatch=monkeypatch)
    assert done.exit_code == 0, done.output
    assert "60.0 % [34.8, 80.9]" in done.output  # 0.5 0.6 0.7: log-odds ± 4.302653 · 0.1/√3 / 0.24
    assert "+10.0 points [-2.5, 22.2]  p 0.25" in done.output
    assert "equal seconds (8)" in done.output
    assert "~" in done.output
    assert "seed 7 failed" in done.output
    assert "it can't be below 2^-(n-1): 0.25 with 3 pairs" in done.output
    assert "+100.0 points [100.0, 100.0] over 1 prompts, 1 better, 0 worse (step 4, 3 seeds)" in done.output


def test_json_has_everything(runs, monkeypatch):
    found = json.loads(invoke(runs, "--json", "--baseline", EVIL, monkeypatch=monkeypatch).output)
    assert found["baseline"] == EVIL
    steps = found["metrics"][0]["budgets"][0]
    assert steps["contrasts"]["one"]["value"] == pytest.approx(-0.1)
    assert steps["contrasts"]["one"]["differences"] == pytest.approx([-0.1, -0.05, -0.15])
    assert steps["means"]["one"]["interval"] == pytest.approx(
        [0.3476, 0.8085], abs=1e-4
    )  # as in the text and on the page
    assert found["groups"][0]["left_out"][0]["state"] == "failed"
    assert found["by_prompt"][0]["difference"]["worse"] == 1


def test_the_page_is_whole_and_safe(runs, monkeypatch, tmp_path):
    done = invoke(runs, "--html", tmp_path / "page.html", monkeypatch=monkeypatch)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "60.0 % [34.8, 80.9]" in page
    assert "<script>alert" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'data-chart="eval-accuracy-seconds"' in page
    assert "Compare with care: one: its means are of 3 of 4 seeds" in page


def test_no_difference_stands_where_groups_are_not_comparable(make_run, monkeypatch, tmp_path):
    make_run("all/a")
    make_run("all/b", name="two", evaluation={"prompts": 8, "greedy": True})
    for runs, comparable in ((tmp_path / "all", False), (tmp_path / "same", True)):
        if comparable:
            make_run("same/a")
            make_run("same/b", name="two")
        done = invoke(runs, "--html", tmp_path / "page.html", monkeypatch=monkeypatch)
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert ("not comparable  evaluation settings differ" in done.output) is not comparable
        assert ("against the baseline" in page) is comparable
        if not comparable:
            assert page.index("Not comparable: evaluation settings differ") < page.index("<table>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "stages.rl.learning_rat"], "did you mean"),
        (["--metric", "eval/acuracy"], 'did you mean "eval/accuracy"'),
        (["--baseline", "on"], 'did you mean "one"'),
    ],
)
def test_mistakes_are_explained(runs, monkeypatch, words, message):
    done = invoke(runs, *words, monkeypatch=monkeypatch)
    assert done.exit_code == 2
    assert message in done.stderr.replace("\n", " ")
