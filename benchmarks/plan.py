"""Is the plan right? Predicted against measured memory on SmolLM2, by the same tracker, for several settings.

    python -m benchmarks.plan [--json FILE] [--only NAME]

Predicted: the step and the rollout traced on the meta device. Measured: the same inputs through the loaded model on the
CPU, every storage counted; and how far resident memory rose above what it was with the weights loaded (torch's
own work space and the allocator's remainders are in it). Each setting runs in a separate process.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from prerlkit.plan import worst_case
from prerlkit.plan.config import find_config
from prerlkit.plan.phases import optimizer_state, train, weights
from prerlkit.plan.rollouts import loads, measured
from prerlkit.plan.trace import trace
from prerlkit.plan.tracker import ADAPTERS, BASE, OPTIMIZER, MemoryTracker
from prerlkit.policy import source
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe
from prerlkit.train.distributed import World
from prerlkit.train.step import Updater

SETTINGS = {
    "GRPO, bf16": [],
    "NSR-PreRL, bf16": ["stages.rl.objective=nsr-prerl"],
    "GRPO, float32": ["model.dtype=float32"],
    "GRPO, nf4": ["model.quantization=nf4"],
    "GRPO, checkpointing": ["memory.gradient_checkpointing=true"],
    "GRPO, small micro-batch and chunk": ["memory.microbatch_tokens=256", "memory.logits_chunk=64"],
    "GRPO with KL, 8-bit AdamW": [
        "stages.rl.objective={preset: grpo, kl: {coefficient: 0.1}}",
        "optimizer.name=adamw_8bit",
    ],
    "GRPO, rank 64, long": ["adapter.rank=64", "rollout.max_new_tokens=96", "rollout.max_prompt_tokens=160"],
    "GRPO, 16 sequences at once": ["rollout.max_sequences=16", "rollout.max_new_tokens=40"],
}
_PHASES = ("log-probs", "backward", "optimizer", "rollout", "evaluation")
_SIZE = ["rollout.max_new_tokens=24", "rollout.prompts_per_step=4", "memory.microbatch_tokens=768"]


def measure(recipe: Recipe) -> dict[str, int]:
    """Peaks of one update and one rollout on the CPU, bytes; `resident`: how far the process grew."""
    stage, path = recipe.stages[0], source.resolve(recipe.model).path
    policy = load_policy(path, recipe.model, read_tokens(path, recipe.model), recipe.memory)
    config = policy.base.config
    tracker = MemoryTracker("cpu", config.vocab_size, (config.num_key_value_heads, config.head_dim))
    tracker.hold(weights(policy.base), BASE)
    policy.adapters.fresh(stage.name, stage.adapter, seed=0)
    tracker.hold([p.data for name, p in policy.base.named_parameters() if ".lora_" in name], ADAPTERS)
    updater = Updater(policy, stage, recipe.memory, World())
    before, peaks = _resident(), dict[str, int]()
    for groups in worst_case.batches(stage, recipe.memory, share_contexts=policy.share_contexts):
        for name, peak in train(tracker, updater, groups).items():
            if name:
                peaks[name] = max(peaks.get(name, 0), peak.total)
    tracker.hold(optimizer_state(updater.optimizer), OPTIMIZER)
    for asked in loads(recipe, stage):
        peaks[asked.phase] = max(peaks.get(asked.phase, 0), measured(tracker, policy, asked).total)
    return {**peaks, "resident": _resident("VmHWM") - before}


def predict(recipe: Recipe) -> dict[str, int]:
    """The same from shapes alone."""
    _, traced = trace(recipe, find_config(recipe.model), "cpu")
    return {name: peak.total for name, peak in traced[0].peaks.items()}


def _resident(field: str = "VmRSS") -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) * 1024 if found else 0


def _one(name: str) -> dict[str, Any]:
    recipe = load("quickstart_grpo", [*_SIZE, *SETTINGS[name]]).recipe
    predicted, measured = predict(recipe), measure(recipe)
    grown = max(predicted.values()) - predicted["optimizer"]  # what came and went
    return {"predicted": predicted, "measured": measured, "grown": grown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SETTINGS, help="one setting, as JSON")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.only:
        print(json.dumps(_one(options.only)))
        return
    found: dict[str, dict[str, Any]] = {}
    print("Predicted / measured, MiB:\n")
    print(f"| setting | {' | '.join(_PHASES)} | largest difference | came and went / resident |")
    print("|---" * (len(_PHASES) + 3) + "|")
    for name in SETTINGS:
        command = [sys.executable, "-m", "benchmarks.plan", "--only", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        predicted, measured = found[name]["predicted"], found[name]["measured"]
        pairs = [(predicted[phase], measured[phase]) for phase in _PHASES]
        worst = max(abs(ours / real - 1) for ours, real in pairs)
        cells = [f"{ours / 2**20:,.0f} / {real / 2**20:,.0f}" for ours, real in pairs]
        grown = f"{found[name]['grown'] / 2**20:,.0f} / {measured['resident'] / 2**20:,.0f}"
        print(f"| {name} | {' | '.join(cells)} | {100 * worst:.2f} % | {grown} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
