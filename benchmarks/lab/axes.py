"""The study's axes: one thing about the base model, or about the switch, is changed; the arms stay those of the study.

    python -m benchmarks.lab study axes       # makes the bases that it needs, and records what they can do

A base of another size or domain is trained from scratch, about half an hour of a core. The other bases are the packaged
one, trained further on changed texts for 150 steps (`start` of `Pretraining`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.lab.base import DEFAULTS, PACKAGED, Pretraining, make
from benchmarks.lab.domains import DOMAINS
from benchmarks.lab.score import score
from benchmarks.lab.study import ARMS, RECORDS, Arm, Job, job, processor_seconds
from benchmarks.lab.traces import MODES, Mixture

PART = "axes"
SEEDS = (0, 1, 2)
CONTINUED_SEEDS = (0, 1, 2, 3, 4)
BASES_RECORD = RECORDS / PART / "bases.jsonl"


_FURTHER = Pretraining(start=PACKAGED, steps=150, learning_rate=5e-4, warmup=20)
BASES: Mapping[str, Pretraining] = {
    "qwen3": replace(_FURTHER, architecture="qwen3"),
    "reflection-third": replace(_FURTHER, mixture=Mixture(leak=0.03)),
    "reflection-triple": replace(_FURTHER, mixture=Mixture(leak=0.27)),
    "chance-retries": replace(_FURTHER, mixture=Mixture(retry=0.0)),
    "paths": DEFAULTS["paths"],
    "3m": Pretraining(size="3m", steps=3000, learning_rate=1.5e-3, slow_batches=4, autocast=True),
}
"""The bases by name. `leak` is 0.09 in the packaged base, and a retry there is as good as a first attempt (0.5)."""
CONTINUED = Arm("continue", {"preset": "nsr-prerl", "coefficient": 0.01}, rate=8e-4, second=1e-3)
"""The switch as in the paper's code: one adapter and one optimizer for both stages, and a warm-up loss times 0.01."""
FURTHER = {"3m": 0.05}
"""Bases whose NSR-RL warm-up ends far below the KL of NSR-PreRL's: it runs again, until this KL."""


def jobs_of(folder: Path) -> list[Job]:
    """Return the runs of every axis, the cheap ones first; the models are in `folder`."""
    warmups, whole = [], []
    for name in BASES:
        changes = {
            "model": {"id": str(folder / name), "dtype": "float32"},
            **DOMAINS[BASES[name].domain].changes(folder / name),
        }
        for seed in SEEDS:
            for arm in ("nsr-rl", "nsr-prerl"):
                own = replace(ARMS[arm], name=f"{name}-{arm}", changes=changes)
                warmups.append(_first_stage(job(PART, own, seed, every=0)))
            if name in FURTHER:
                own = replace(ARMS["nsr-rl"], name=f"{name}-nsr-rl-further", changes=changes)
                warmups.append(_until(_first_stage(job(PART, own, seed, every=0)), FURTHER[name]))
            for new, arm in (("dsrl", "nsr-prerl"), ("grpo", "grpo")):
                own = replace(ARMS[arm], name=f"{name}-{new}", changes=changes)
                whole.append(job(PART, own, seed, every=0))
    return [*warmups, *map(_continued, CONTINUED_SEEDS), *whole]


def make_base(name: str, folder: Path) -> None:
    """Train the base of that name unless it exists, measure it, and record what it can do."""
    if (folder / name / "model.safetensors").is_file():
        return
    begun = processor_seconds()
    digest = make(folder / name, BASES[name])
    spent = processor_seconds() - begun
    model = AutoModelForCausalLM.from_pretrained(folder / name, dtype="float32").eval()
    words = AutoTokenizer.from_pretrained(folder / name)
    scores = {mode: asdict(score(model, words, mode, domain=BASES[name].domain, count=64)) for mode in MODES}
    BASES_RECORD.parent.mkdir(parents=True, exist_ok=True)
    with BASES_RECORD.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"base": name, "sha256": digest, "processor_seconds": spent, **scores}) + "\n")


def _continued(seed: int) -> Job:
    one = job(PART, CONTINUED, seed, every=0)
    warmup, second = one.overrides["stages"]
    stages = [warmup, {**second, "reincarnation": "continue", "keep_optimizer": True}]
    return replace(one, overrides={**one.overrides, "stages": stages})


def _until(one: Job, kl: float) -> Job:
    """Return the same run, its warm-up ended by that KL."""
    warmup, *rest = one.overrides["stages"]
    stages = [{**warmup, "until": {**warmup["until"], "above": kl}}, *rest]
    return replace(one, overrides={**one.overrides, "stages": stages})


def _first_stage(one: Job) -> Job:
    """Return the same run without its second stage."""
    overrides: dict[str, Any] = {**one.overrides, "stages": one.overrides["stages"][:1]}
    return replace(one, overrides=overrides)
