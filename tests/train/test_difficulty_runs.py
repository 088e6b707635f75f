"""Runs on prompts of a measured difficulty."""

from __future__ import annotations

import json

import pytest

from prerlkit.errors import UsageError
from prerlkit.runs.jsonl import read_lines


def line(prompt: str, passed: list[bool]) -> dict:
    return {"kind": "sampled", "prompt": prompt, "completions": [{"passed": one} for one in passed]}


def test_a_run_trains_on_these_prompts_only_and_resumes_exactly(go, same_run, tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    go(recipe, tmp_path / "all")
    seen = {one["prompt"] for one in read_lines(tmp_path / "all" / "samples.jsonl")}
    easy, hard = sorted(seen)[:3], sorted(seen)[3:]
    path = tmp_path / "samples.jsonl"
    lines = [line(p, [True, False]) for p in easy] + [line(p, [False, False]) for p in hard]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    chosen = tiny_recipe(data={**recipe["data"], "pass_rate": {"samples": str(path), "at_least": 0.1}})
    go(chosen, tmp_path / "straight")
    go(chosen, tmp_path / "parts", stop_after=3)
    go(chosen, tmp_path / "parts", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")
    trained = {one["prompt"] for one in read_lines(tmp_path / "straight" / "samples.jsonl")}
    assert trained <= set(easy)
    path.write_text(json.dumps(line(easy[0], [True])) + "\n")
    with pytest.raises(UsageError, match="The train prompts are not those"):
        go(chosen, tmp_path / "parts", existing="resume")
