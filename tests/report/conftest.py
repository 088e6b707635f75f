"""Run folders made up for reports, and a real browser to look at the pages with."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from pathlib import Path

import pytest

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked=1'>",
    "\x1b[31mred\x07 \x00 nul \u202egnp.exe\u2066 \ud800 lone \u200b\ufeff &lt; &amp; {{ 7 * 7 }} ]]> --> \u2028",
    "https://example.com/x.png ![x](https://example.com/y.png) <link rel=stylesheet href=//example.com/z.css>",
    "x" * 100_000,
    "مرحبا بالعالم 漢字 🧑‍🚀",
    "",
)


def recipe_of(name: str, seed: int, steps: tuple[int, int]) -> dict:
    return {
        "name": name,
        "description": "made up for a test",
        "seed": seed,
        "model": {"id": "some/model"},
        "data": {
            "train": {"kind": "generator", "name": "arithmetic", "rows": 100, "settings": {"low": 0, "high": 19}},
            "eval": {"kind": "held_out", "rows": 20},
        },
        "verifiers": [{"name": "math"}],
        "rollout": {"group_size": 8, "prompts_per_step": 8, "max_new_tokens": 512},
        "stages": [
            {"name": "warmup", "objective": "nsr-prerl", "steps": steps[0], "learning_rate": 3e-5},
            {"name": "rl", "objective": "grpo", "steps": steps[1], "learning_rate": 3e-4},
        ],
    }


def metrics_of(step: int, total: int, chance: random.Random) -> dict[str, float]:
    at = step / total
    reward = min(1.0, max(0.0, 0.2 + 0.6 / (1 + math.exp(-8 * (at - 0.4))) + chance.gauss(0, 0.07)))
    rollout, train = 4 + chance.random(), 2 + chance.random()
    return {
        "reward/mean": reward,
        "reward/pass_rate": reward,
        "group/zero_signal": min(1.0, max(0.0, 0.2 + 0.5 * at + chance.gauss(0, 0.1))),
        "sample/unjudged": 0.0,
        "sample/truncated": max(0.0, 0.4 * (1 - at) + chance.gauss(0, 0.05)),
        "tokens/generated": 9000 + round(chance.gauss(0, 400)),
        "tokens/completion_mean": 140 + 60 * at + chance.gauss(0, 8),
        "tokens/trained": 6000 + round(chance.gauss(0, 900)),
        "loss/total": chance.gauss(0, 0.1),
        "policy/entropy": max(0.02, 1.5 * math.exp(-2 * at) + chance.gauss(0, 0.05)),
        "policy/kl": 0.0,
        "policy/trained_logprob": -0.6 + 0.3 * at + chance.gauss(0, 0.03),
        "optim/lr": 3e-4,
        "optim/grad_norm": abs(chance.gauss(0.6, 0.2)),
        "optim/skipped": 0,
        "time/rollout": rollout,
        "time/weight_sync": 0.4,
        "time/verify": 0.05,
        "time/train": train,
        "time/step": rollout + train + 0.05,
        "memory/peak": 9_000_000_000 + min(step, 100) * 10_000_000,
    }


def group_of(step: int, stage: str, number: int, chance: random.Random, texts: tuple[str, ...] | None) -> dict:
    words = [
        "so",
        "we",
        "add",
        "the",
        "two",
        "numbers",
        "and",
        "carry",
        "the",
        "one",
        "then",
        "check",
        "it",
        "again",
        "because",
    ]
    completions = []
    for n in range(8):
        passed = chance.random() < 0.5
        text = texts[n % len(texts)] if texts else " ".join(chance.choices(words, k=160)) + f" #### {n}"
        completions.append(
            {
                "text": text,
                "tokens": 180,
                "truncated": n == 7,
                "logprob": -80.0,
                "score": None if n == 6 else float(passed),
                "passed": None if n == 6 else passed,
                "reason": "the verifier took too long" if n == 6 else "" if passed else "another answer",
                "details": {} if n == 6 else {"answer": str(n)},
            }
        )
    prompt = f"<|im_start|>user\nWhat is {step} + {number}?<|im_end|>\n<|im_start|>assistant\n"
    return {
        "step": step,
        "stage": stage,
        "prompt_id": f"train/{step}-{number}",
        "prompt": prompt,
        "answer": str(step + number),
        "completions": completions,
    }


def tokens_of(step: int, stage: str, groups: list[dict], chance: random.Random) -> dict:
    """A line of probes.jsonl as the probe `change` writes it: a token a word, and the end token."""

    def of(text: str) -> dict:
        pieces = [*re.findall(r"\s*\S+|\s+$", text), "<end>"]
        behind = [round(-abs(chance.gauss(0, 0.8)), 3) for _ in pieces]
        return {
            "pieces": pieces,
            "conditional": behind,
            "pretrain": [round(value - abs(chance.gauss(0, 2)), 3) for value in behind],
            "conditional_change": [float(f"{chance.gauss(0, 0.01):.3g}") for _ in pieces],
            "pretrain_change": [float(f"{chance.gauss(-0.01, 0.02):.3g}") for _ in pieces],
        }

    found = [{"prompt_id": g["prompt_id"], "completions": [of(c["text"]) for c in g["completions"]]} for g in groups]
    return {"step": step, "stage": stage, "change": {"groups": found}}


def evaluation_of(name: str, step: int, value: float) -> dict:
    from prerlkit.evaluation.statistics import wilson

    low, high = wilson(round(200 * value), 200)
    return {
        "name": name,
        "step": step,
        "prompts": 200,
        "seconds": 40.0,
        "accuracy": {"value": value, "low": low, "high": high},
        "average": None,
        "pass_at": {},
        "unjudged": 0.0,
        "truncated": 0.1,
        "tokens_mean": 150.0,
    }


@pytest.fixture
def make_run(tmp_path):
    """A function that writes the folder of a run of `steps` steps, as far as `done`, and gives its path."""
    from prerlkit.recipe.load import dump
    from prerlkit.recipe.schema import Recipe

    def make(
        name: str = "made",
        *,
        steps: tuple[int, int] = (10, 20),
        done: int | None = None,
        seed: int = 0,
        reason: str | None = "completed",
        texts: tuple[str, ...] | None = None,
        more: dict[str, float] | None = None,
        evaluations: bool = True,
        tokens: int = 0,
    ) -> Path:
        """`more`: further metrics of every second step. `tokens`: every so many steps they are recorded too.
        `reason`: None leaves no summary, as kill -9 does."""
        folder = tmp_path / f"{name}-{seed}"
        folder.mkdir()
        recipe = Recipe.model_validate(recipe_of(name, seed, steps))
        (folder / "recipe.yaml").write_text(dump(recipe))
        chance, total = random.Random(seed), sum(steps)
        metrics, samples, probes = [], [], []
        for step in range(1, (total if done is None else done) + 1):
            stage = "warmup" if step <= steps[0] else "rl"
            extra = (more or {}) if step % 2 else {}
            metrics.append({"step": step, "stage": stage, **metrics_of(step, total, chance), **extra})
            groups = [group_of(step, stage, n, chance, texts) for n in range(2)]
            samples += groups
            if tokens and (step - 1) % tokens == 0:
                probes.append(tokens_of(step, stage, groups, random.Random(step)))
        held_out = [evaluation_of("before", 0, 0.31), evaluation_of("after warmup", steps[0], 0.30)]
        held_out += [evaluation_of("after rl", total, 0.74)] if len(metrics) == total else []
        for file, lines in (
            ("metrics", metrics),
            ("samples", samples),
            ("probes", probes),
            ("evaluations", held_out if evaluations else []),
        ):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        hardware = {"platform": "Linux", "device": "cpu", "cpu_count": 2}
        environment = {"versions": {"prerlkit": "0.1.0", "torch": "2.13.0"}, "hardware": hardware}
        (folder / "environment.json").write_text(json.dumps(environment))
        if reason is not None:
            seconds = sum(line["time/step"] for line in metrics) + 150
            (folder / "summary.json").write_text(
                json.dumps({"name": name, "seed": seed, "exit_reason": reason, "wall_seconds": seconds})
            )
        return folder

    return make


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """Texts that a model may write and that must stay text."""
    return HOSTILE


@pytest.fixture(scope="module")  # while playwright runs, no other test of the process may start an event loop
def chromium():
    """A running headless Chromium, driven by playwright; skips where one of them is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if binary is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium):
    """A function that opens a page and gives it; whatever went wrong in it fails the test at the end."""
    contexts, wrong = [], []

    def open_(address: str | Path, *, width: int = 1280, dark: bool = False, javascript: bool = True):
        url = address.as_uri() if isinstance(address, Path) else address
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            java_script_enabled=javascript,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda request: None if request.url.startswith(url) else wrong.append(request.url))
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []
