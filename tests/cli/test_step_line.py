"""The line of a step fits the terminal, a log file has all of it, and a completion is shown now and then."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len

from prerlkit.cli.render.display import Display
from prerlkit.cli.render.step import sampled_lines, step_line
from prerlkit.cli.visible import VisibleConsole
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.result import EvalResult
from prerlkit.metrics import catalogue as known
from prerlkit.types import Completion, Group, Prompt, StepRecord, Verdict

METRICS = {
    known.REWARD.name: 0.125,
    known.PASS_RATE.name: 0.1,
    known.ZERO_SIGNAL.name: 0.41,
    known.TRUNCATED.name: 0.0,
    known.UNJUDGED.name: 0.0,
    known.COMPLETION_LENGTH.name: 71.4,
    known.ENTROPY.name: 0.52,
    known.GRAD_NORM.name: 0.25,
    known.TOKENS_GENERATED.name: 334,
    known.ROLLOUT_SECONDS.name: 2.0,
    known.TOKENS_TRAINED.name: 108,
    known.TRAIN_SECONDS.name: 1.0,
    known.STEP_SECONDS.name: 3.1,
    known.SKIPPED_UPDATES.name: 0,
}


def record(text="3 + 4 = 7", verdict=None, *, prompt="reach 7 with 3 4 9", truncated=False, **metrics):
    completion = Completion((1, 2), text, (-0.1, -0.2), truncated)
    group = Group(Prompt("train/1", prompt, (1,)), (completion,), (verdict or Verdict.of(True),))
    return StepRecord(1, "warmup", {**METRICS, **metrics}, (group,))


@pytest.mark.parametrize(
    ("width", "shown", "dropped"),
    [
        (60, ["reward 0.125", "pass  10 %", "length  71.4", "3.1 s"], ["no signal", "entropy", "grad", "tok/s"]),
        (100, ["pass  10 %", "no signal  41 %", "length  71.4", "entropy 0.52", "3.1 s"], ["grad", "tok/s"]),
        (160, ["no signal  41 %", "grad 0.25", "sampled 167, trained 108 tok/s", "3.1 s"], []),
    ],
)
def test_a_terminal_shows_what_fits_the_most_important_first(width, shown, dropped):
    line = step_line(record(), 12, 50, width)
    assert cell_len(line) <= width
    assert line.startswith("warmup  12/50  reward 0.125")
    assert [field for field in shown if field not in line] == []
    assert [field for field in (*dropped, "truncated", "unjudged") if field in line] == []


@pytest.mark.parametrize("width", [60, 100, 160])
def test_columns_stay_where_they_are_from_step_to_step(width):
    few = step_line(record(**{known.COMPLETION_LENGTH.name: 9.5, known.PASS_RATE.name: 0.0}), 1, 50, width)
    many = step_line(record(**{known.COMPLETION_LENGTH.name: 120.4, known.PASS_RATE.name: 1.0}), 50, 50, width)
    assert few.index("length") == many.index("length")
    assert few.index("3.1 s") == many.index("3.1 s")


def test_what_went_wrong_takes_the_place_of_lesser_fields():
    wrong = {known.UNJUDGED.name: 0.25, known.TRUNCATED.name: 0.5, known.SKIPPED_UPDATES.name: 1}
    line = step_line(record(**wrong), 12, 50, 100)
    assert cell_len(line) <= 100
    for field in ("truncated 50 %", "unjudged 25 %", "skipped: no gradient"):
        assert field in line
    assert "skipped: no gradient" in step_line(record(**wrong), 12, 50, 20)


def test_a_log_file_has_every_field_zeros_among_them():
    line = step_line(record(**{known.PROBES_SECONDS.name: 0.4, known.REFILL_GROUPS.name: 0}), 12, 50)
    for field in ("truncated 0 %", "unjudged 0 %", "refilled 0", "probes 0.4 s", "sampled 167, trained 108 tok/s"):
        assert field in line


def test_a_completion_is_shown_with_its_verdict():
    prompt, completion = sampled_lines(record(), 80)
    assert re.fullmatch(r"  prompt +reach 7 with 3 4 9", prompt)
    assert completion == "  completion, pass  3 + 4 = 7"
    assert sampled_lines(record(verdict=Verdict.of(False)), 80)[1].startswith("  completion, fail  ")
    assert sampled_lines(record(verdict=Verdict.unjudged("no gold")), 80)[1].startswith("  completion, unjudged  ")
    assert ", fail, truncated  " in sampled_lines(record(verdict=Verdict.of(False), truncated=True), 80)[1]
    assert sampled_lines(StepRecord(1, "start", {}, ()), 80) == ()


@pytest.mark.parametrize("width", [60, 100, 160])
@pytest.mark.parametrize("letter", ["a", "数"])
def test_a_long_completion_keeps_both_ends_in_one_line(width, letter):
    line = sampled_lines(record(f"first\n\n{letter * 500}\r\nlast"), width)[1]
    assert cell_len(line) <= width
    assert "first" in line
    assert line.endswith("last")
    assert "\n" not in line


def test_a_completion_drives_no_terminal():
    lines = sampled_lines(record("\x1b[2J\u202egone", prompt="\x1b]0;title\x07[red]x"), 80)
    assert not re.search("[\x00-\x1f\u202e]", "".join(lines))
    assert "[U+001B][2J[U+202E]gone" in lines[1]


def printed(*, quiet: bool = False, terminal: bool = False) -> list[str]:
    out = io.StringIO()
    console = VisibleConsole(file=out, width=100, force_terminal=terminal, no_color=True, highlight=False)
    display = Display(console, quiet=quiet)  # not entered: nothing moves at the bottom
    display.on_stage_begin("warmup", 4, 0)
    display.on_step_end(record("[red]one"), 1, 4)
    display.on_step_end(record("two"), 2, 4)
    display.on_evaluate(EvalResult("step 2", 2, 10, 1.0))
    display.on_step_end(record("three"), 3, 4)
    return out.getvalue().splitlines()


def test_a_stage_and_an_evaluation_are_followed_by_one_completion():
    lines = printed()
    assert [line.split("  ")[-1] for line in lines if "completion, " in line] == ["[red]one", "three"]
    assert "unjudged 0 %" in next(line for line in lines if line.startswith("warmup"))


def test_on_a_terminal_no_line_is_wider_than_it():
    steps = [line for line in printed(terminal=True) if "reward" in line]
    assert len(steps) == 3
    assert all(cell_len(re.sub("\x1b\\[[0-9;]*m", "", line)) <= 100 and "unjudged" not in line for line in steps)


def test_a_long_line_breaks_between_words_unless_it_holds_a_command():
    out = io.StringIO()
    display = Display(VisibleConsole(file=out, width=40, force_terminal=True, no_color=True, highlight=False))
    display.on_message("out of memory: micro-batches of 512 tokens from now on")
    display.on_message("a live report: prerlkit report runs/with/a/long/name --watch --open")
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in out.getvalue().splitlines()]
    assert [line.rstrip() for line in lines] == [
        "· out of memory: micro-batches of 512",
        "  tokens from now on",
        "· a live report: prerlkit report runs/with/a/long/name --watch --open",
    ]


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_region_below_has_always_as_many_lines(width):
    """Rich's thread draws it between two prints: where it shrinks, a print erases a line above it."""
    console = VisibleConsole(file=io.StringIO(), width=width, force_terminal=True, no_color=True, highlight=False)
    display = Display(console)
    heights = []

    def draw():
        with console.capture() as capture:
            console.print(display._render())
        lines = capture.get().splitlines()
        assert max(map(cell_len, lines)) <= width
        heights.append(len(lines))

    display.progress("loading libraries", 0, 0)
    draw()
    display.on_stage_begin("warmup", 400, 0)
    draw()
    for step in range(60):
        display.progress("rollout", 128, 128)
        display.on_step_end(record(), step + 1, 400)
    draw()
    display.on_evaluate(EvalResult("step 2", 2, 10, 1.0, accuracy=Estimate(0.5, 0.4, 0.6)))
    display.progress("evaluation after warmup", 2048, 2048)
    draw()
    assert heights == [5] * 4


def test_quiet_shows_no_completion():
    assert printed(quiet=True) == []
