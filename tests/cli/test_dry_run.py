"""A dry run shows the first prompt as the model sees it, and its gold answer."""

from __future__ import annotations

import json

from prerlkit.train.dry_run import MOST_CHARACTERS, MOST_LINES, shortened


def test_a_dry_run_shows_a_prompt_as_the_model_sees_it(invoke, recipe_file, tmp_path):
    asked = "[bold]What[/bold] :smile: is\r\x1b[31m {} + 1?\nseed         7"
    rows = [{"question": asked.format(i), "answer": str(i + 1)} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "eval.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "2"}))
    data = {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "file", "path": "eval.jsonl"}}
    done = invoke("run", recipe_file(data=data), "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("prompt "))
    count = len("user\n" + asked.format(0) + "assistant\n") + 3  # a token for each byte, and three special ones
    assert lines[first : first + 6] == [
        f"prompt       train/0, {count} tokens, as the model sees it:",
        "             | <turn>user",
        r"             | [bold]What[/bold] :smile: is\r\x1b[31m 0 + 1?",
        "             | seed         7<end><turn>assistant",
        "             | ",
        "gold answer  '1'",
    ]
    assert lines[first - 1].startswith("data ")


def test_a_dry_run_without_gold_answers_shows_that_too(invoke, recipe_file, tiny_recipe):
    done = invoke("run", recipe_file(data={**tiny_recipe()["data"], "answer": None}), "--dry-run")
    assert "gold answer  none: data.answer is null" in done.stdout


def test_a_long_text_keeps_both_ends():
    long = "".join(f"line {number}\n" for number in range(100)) + "<think>"
    lines = shortened(long).split("\n")
    assert len(lines) == MOST_LINES
    assert (lines[0], lines[-1], lines.count("…")) == ("line 0", "<think>", 1)
    wide = shortened("a" * 5000 + "<think>")
    assert len(wide) == MOST_CHARACTERS
    assert wide.endswith("a<think>")
    assert "a…a" in wide
    assert shortened("as it is\n") == "as it is\n"
