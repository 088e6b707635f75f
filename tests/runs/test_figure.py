"""A run as a figure and as tables: what is drawn, what is named, and what is said without matplotlib."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import prerlkit
from prerlkit.errors import UsageError
from prerlkit.runs import run as run_module


@pytest.fixture
def folder(tmp_path):
    """A run of two stages with all that is drawn, an evaluation before it and after each stage."""
    (tmp_path / "recipe.yaml").write_text(
        'name: made\nseed: 3\nstages: [{name: "<b>$up", steps: 4}, {name: rl, steps: 4}]\n'
    )
    steps = [
        {
            "step": n,
            "stage": "rl" if n > 4 else "<b>$up",
            "reward/mean": n / 10,
            "reward/pass_rate": n / 20,
            "tokens/completion_mean": 10.0 + n,
            "probe/drift/kl_stage": n / 100,
        }
        for n in range(1, 9)
    ]
    estimate = {"value": 0.5, "low": 0.4, "high": 0.7}
    evaluations = [
        {
            "name": name,
            "step": n,
            "accuracy": estimate,
            "average": None,
            "pass_at": {},
            "thoughts": {"reflection": n / 8, "transition": 0.0},
            "tokens_mean": 12.0,
            **({"kl": 0.1} if n else {}),
        }
        for n, name in ((0, "before"), (4, "after <b>$up"), (8, "after rl"))
    ]
    for name, lines in (("metrics", steps), ("evaluations", evaluations)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "summary.json").write_text('{"exit_reason": "completed"}')
    return tmp_path


def curves(figure) -> dict[str, list[str]]:
    """The legend of each panel, or the number of its lines, by the label of its axis."""
    return {axes.get_ylabel(): axes.get_legend_handles_labels()[1] for axes in figure.axes}


def test_every_panel_has_a_unit_and_names_its_curves(folder):
    figure = prerlkit.load_run(folder).plot()
    assert curves(figure) == {
        "accuracy (%)": ["training completions", "held-out, greedy"],
        "mean reward (0 to 1)": ["training"],
        "thoughts per held-out answer": ["reflection", "transition"],
        "KL to the policy before the stage\n(nats per token)": ["training prompts", "held-out"],
        "completion length (tokens)": ["training"],
    }
    assert {axes.get_xlabel() for axes in figure.axes} == {"step"}
    accuracy = figure.axes[0]
    assert list(accuracy.containers[0].lines[0].get_ydata()) == [5.0 * n for n in range(1, 9)]
    (bars,) = accuracy.containers[1].lines[2]
    assert bars.get_segments()[0][:, 1] == pytest.approx([40, 70])
    assert [text.get_text() for text in accuracy.texts] == [r"<b>\$up", "rl"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_what_was_not_recorded_has_no_panel(folder):
    (folder / "evaluations.jsonl").unlink()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{key: line[key] for key in ("step", "stage", "reward/mean")} for line in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert list(curves(prerlkit.load_run(folder).plot())) == ["mean reward (0 to 1)"]
    (folder / "metrics.jsonl").unlink()
    empty = prerlkit.load_run(folder)
    assert empty.plot().axes == []
    assert empty._repr_html_() == f"<p>Run made, seed 3, completed, 0 steps, {folder}</p>"


def test_a_run_is_one_line_and_tables_in_which_nothing_acts(folder):
    run = prerlkit.load_run(str(folder))
    assert repr(run) == f"<Run made, seed 3, completed, 8 steps, {folder}>"
    html = run._repr_html_()
    assert html.count("<table>") == 2
    assert "<b>" not in html
    assert "<td>50.0 % [40.0, 70.0]</td>" in html


def test_without_matplotlib_it_is_said_what_to_install(folder, monkeypatch):
    run = prerlkit.load_run(folder)
    monkeypatch.setattr(run_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="matplotlib") as caught:
        run.plot()
    assert "[card]" in caught.value.hint


def test_reading_a_run_loads_no_matplotlib(folder):
    code = f"import prerlkit, sys; prerlkit.load_run({str(folder)!r}); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rounded_intervals_and_negative_rewards_are_drawn(folder):
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    for line in lines:
        line["accuracy"] = {"value": 1.0, "low": 1.0 + 1e-12, "high": 1.0 - 1e-12}
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for step in steps:
        step["reward/mean"] = -0.5
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    shown = {axes.get_ylabel(): axes.get_ylim() for axes in prerlkit.load_run(folder).plot().axes}
    assert shown["mean reward (0 to 1)"][0] < -0.5
    assert shown["accuracy (%)"][0] == 0


@pytest.mark.filterwarnings("error")
def test_a_run_that_ended_after_its_first_step_is_drawn(folder):
    first = (folder / "metrics.jsonl").read_text().splitlines()[0]
    (folder / "metrics.jsonl").write_text(first + "\n")
    (folder / "evaluations.jsonl").unlink()
    assert prerlkit.load_run(folder).plot()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_not_finite_are_left_out(folder):
    before = (folder / "evaluations.jsonl").read_text().splitlines()[0]
    (folder / "evaluations.jsonl").write_text(before + "\n")
    step = {"step": 1, "stage": "rl", "reward/mean": float("nan"), "reward/pass_rate": float("inf")}
    (folder / "metrics.jsonl").write_text(json.dumps(step) + "\n")
    figure = prerlkit.load_run(folder).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "mean reward (0 to 1)" not in curves(figure)
