"""Results show themselves: one line each as text, tables in a notebook, and no cell acts."""

from __future__ import annotations

from prerlkit.evaluation.attempts import Attempt, Problem
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.harness.results import Results, compare, result
from prerlkit.evaluation.request import EvalSettings
from prerlkit.evaluation.result import EvalResult
from prerlkit.page.table import html_table


def attempt(passed: bool) -> Attempt:
    return Attempt(passed, tokens=5, truncated=False)


def results(name: str = "runs/one") -> Results:
    settings = EvalSettings(greedy=True, samples=0)
    made = [
        result(target, [Problem(str(number), (attempt(number < right),)) for number in range(4)], [], settings)
        for target, right in (("its base", 1), (name, 3))
    ]
    return Results("sums", settings, tuple(made), compare(made))


def test_a_result_is_one_line_for_each_target_and_comparison():
    task, base, own, difference = repr(results()).splitlines()
    assert task == "<Results sums"
    assert base.startswith("  <TargetResult 'its base', greedy accuracy 25.0 % [")
    assert own.startswith("  <TargetResult 'runs/one', greedy accuracy 75.0 % [")
    assert difference == "  <TargetComparison 'runs/one' minus 'its base', greedy accuracy +50.0>>"


def test_a_notebook_shows_targets_and_differences():
    html = results()._repr_html_()
    assert html.count("<table>") == 2
    for cell in ("<td>runs/one</td>", "runs/one minus its base", "<td>+50.0</td>", "<th>better</th>", "<td>2</td>"):
        assert cell in html
    assert "<script>" not in results("<script>")._repr_html_()


def test_an_evaluation_shows_its_figures():
    half = Estimate(0.5, 0.4, 0.6)
    one = EvalResult("after rl", 9, 10, 1.0, average=half, pass_at={1: half, 8: half}, samples=8, tokens_mean=12.25)
    assert repr(one) == (
        "<EvalResult 'after rl', step 9, avg@8 50.0 % [40.0, 60.0], pass@8 50.0 % [40.0, 60.0], length 12.2>"
    )
    assert "<td>after rl</td><td>9</td><td>50.0 % [40.0, 60.0]</td>" in one._repr_html_()


def test_no_cell_acts():
    html = html_table("<b>", ["<i>", "x"], [["\x1b<script>", "\u202e&"]])
    assert "<td>[U+001B]&lt;script&gt;</td><td>[U+202E]&amp;</td>" in html
    assert "<b>" not in html
    assert "<i>" not in html
