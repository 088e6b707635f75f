"""Run folders made by hand: numbers that a test can work out, in the form that runs write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run folder and gives its path.

    Args: rewards, one a step; evaluations as (step, accuracy, by_prompt); tokens and seconds of every step; recipe
    changes as dotted keys; `reason` of the summary, None for no summary.
    """

    def make(
        folder: str,
        *,
        name: str = "one",
        seed: int = 0,
        rewards=(0.1, 0.2, 0.3, 0.4),
        evaluations=((0, 0.2, {}), (4, 0.6, {})),
        tokens: int = 100,
        seconds: float = 2.0,
        reason: str | None = "completed",
        extra=None,
        **recipe,
    ) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True)
        content = {
            "name": name,
            "seed": seed,
            "model": {"id": "m", "quantization": "none"},
            "adapter": {"rank": 4},
            "data": {"train": {"kind": "generator"}, "eval": {"kind": "held_out", "rows": 4}},
            "verifiers": [{"name": "math"}],
            "reward": "weighted",
            "stages": [{"name": "rl", "steps": 4, "learning_rate": 1e-3, "adapter": {"rank": 4}}],
            "evaluation": {"prompts": 4, "greedy": True},
            "output": {"folder": str(path)},
        }
        for key, value in recipe.items():
            content[key] = value
        with (path / "recipe.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(content, file)
        lines = [
            {
                "step": number,
                "stage": "rl",
                "reward/mean": reward,
                "tokens/generated": tokens,
                "tokens/trained": tokens // 2,
                "time/step": seconds,
                **(extra or {}),
            }
            for number, reward in enumerate(rewards, 1)
        ]
        _write(path / "metrics.jsonl", lines)
        evaluated = [
            {
                "name": "before" if not step else f"step {step}",
                "step": step,
                "accuracy": {"value": value, "low": 0.0, "high": 1.0},
                "average": None,
                "pass_at": {},
                "tokens_mean": 3.0,
                "truncated": 0.0,
                "unjudged": 0.0,
                "by_prompt": by_prompt,
            }
            for step, value, by_prompt in evaluations
        ]
        _write(path / "evaluations.jsonl", evaluated)
        hardware = {"device": "cpu", "cpu_count": 2, "torch_threads": 1}
        (path / "environment.json").write_text(json.dumps({"hardware": hardware}))
        if reason:
            (path / "summary.json").write_text(json.dumps({"exit_reason": reason, "peak_memory_bytes": 2**30}))
        return path

    return make


def _write(path: Path, lines: list[dict]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
