"""A whole GRPO step against TRL's GRPOTrainer, and what a NSR-PreRL step's training phase costs compared with GRPO's.

    python -m benchmarks.step [--steps N] [--new-tokens N ...] [--trl-checkpointing] [--quick] [--json FILE]

The same work on both sides: SmolLM2-135M in bfloat16, LoRA r=16 on all linear layers, 8 prompts × 8 samples, the same
sums, the same reward, sampling at temperature 1, AdamW, one update a step, the same number of threads. Each side runs
in a separate process; the first step is not counted. A ratio above 1 means that prerlkit is faster (or smaller). The
share of the limit: the operations of the products that prerlkit's step makes, over the seconds of either side, over the
rate that this machine reaches with the model's own products and nothing else.

TRL comes by `pip install -e '.[bench]'`. Its gradient checkpointing is off here, which makes it faster and larger; with
--trl-checkpointing it is as TRL sets it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import Ratios, arguments, report

PROMPTS, SAMPLES = 8, 8


def ours(steps: int, new_tokens: int, folder: Path) -> list[dict[str, float]]:
    """Seconds and generated tokens of each step of ours."""
    import prerlkit
    from prerlkit.train.callbacks import SilentCallback
    from prerlkit.types import StepRecord

    seen = []

    class Listener(SilentCallback):
        def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
            seen.append({"seconds": record.metrics["time/step"], "tokens": record.metrics["tokens/generated"]})

    overrides = {
        "rollout.max_new_tokens": new_tokens,
        "rollout.prompts_per_step": PROMPTS,
        "rollout.group_size": SAMPLES,
        "stages.rl.steps": steps,
        "evaluation.when": [],
    }
    prerlkit.run("quickstart_grpo", folder / "run", overrides=overrides, callback=Listener())
    return seen


def trl(steps: int, new_tokens: int, folder: Path, *, checkpointing: bool) -> list[dict[str, float]]:
    """The same of TRL."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from prerlkit.recipe.load import load
    from prerlkit.train.prepare import prepare
    from prerlkit.verify.mathematics.extract import last_number

    prepared = prepare(load("quickstart_grpo").recipe, None)
    rows = [{"prompt": p.text, "answer": p.answer} for p in prepared.prompts.train]
    seen: list[dict[str, float]] = []

    def reward(completions: list[str], answer: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        seen[-1]["tokens"] = sum(map(len, completion_ids))
        return [float(last_number(c) == a) for c, a in zip(completions, answer, strict=True)]

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            seen.append({"begun": time.perf_counter()})

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seen[-1]["seconds"] = time.perf_counter() - seen[-1]["begun"]

    config = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,  # mixed precision of a float32 model; ours and theirs hold the model in bfloat16
        per_device_train_batch_size=PROMPTS * SAMPLES,
        num_generations=SAMPLES,
        max_completion_length=new_tokens,
        temperature=1.0,
        beta=0.0,
        max_steps=steps,
        learning_rate=3e-4,
        gradient_checkpointing=checkpointing,
        logging_steps=1000,
        save_strategy="no",
        report_to=[],
    )
    model = AutoModelForCausalLM.from_pretrained(prepared.model.path, dtype="bfloat16")
    trainer = GRPOTrainer(
        model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=prepared.tokens.tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    return seen


def phases(repeats: int, new_tokens: int) -> tuple[Ratios, float, float]:
    """Return GRPO's training phase / NSR-PreRL's on the same rollouts of the untrained model, in this process.

    Also the operations of a GRPO step's products (rollout and training), and the machine's rate of such products.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.training import UNCOUNTED, product_rate
    from prerlkit.policy.policy import load_policy
    from prerlkit.recipe.load import load
    from prerlkit.recipe.schema import Stage
    from prerlkit.rollout.hf import HfEngine
    from prerlkit.rollout.protocol import Sampling
    from prerlkit.train.distributed import World
    from prerlkit.train.prepare import prepare
    from prerlkit.train.sample_and_judge import sample_and_judge
    from prerlkit.train.step import Updater
    from prerlkit.verify.pool.runner import Runner

    recipe = load("quickstart_grpo", [f"rollout.max_new_tokens={new_tokens}"]).recipe
    prepared = prepare(recipe, None)
    policy = load_policy(prepared.model.path, recipe.model, prepared.tokens)
    policy.adapters.fresh("rl", recipe.stages[0].adapter, 0)
    engine = HfEngine(policy.base, prepared.tokens.tokenizer, policy.end_ids, 64, plain_head=policy.plain_head)
    with (
        Runner(recipe.verifiers, reward=recipe.reward, gates=recipe.gates, folder=None) as judge,
        FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as rollout,
    ):
        groups = sample_and_judge(
            engine, judge, prepared.prompts.train[:PROMPTS], Sampling(SAMPLES, new_tokens, 1.0, 0), lambda *_: None
        ).groups
    common = {"name": "s", "steps": 1, "learning_rate": 1e-4, "adapter": {"rank": 16}}

    def call(objective: str) -> Callable[[], object]:
        stage = Stage.model_validate({**common, "objective": objective})
        updater = Updater(policy, stage, recipe.memory, World())
        return lambda: updater.gradients(groups)

    from benchmarks.common import ratios

    grpo = call("grpo")
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as training:
        grpo()
    operations = rollout.get_total_flops() + training.get_total_flops()
    return ratios(call("nsr-prerl"), grpo, repeats), operations, product_rate(policy, recipe.memory.microbatch_tokens)


def _side(options: argparse.Namespace) -> None:
    """In the child: do one side, print its figures as the last line."""
    with tempfile.TemporaryDirectory() as folder:
        if options.side == "prerlkit":
            seen = ours(options.steps + 1, options.new_tokens[0], Path(folder))
        else:
            seen = trl(options.steps + 1, options.new_tokens[0], Path(folder), checkpointing=options.trl_checkpointing)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print("\n" + json.dumps({"steps": seen[1:], "peak": peak}))


def _measured(side: str, new_tokens: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.step", "--side", side, "--new-tokens", str(new_tokens)]
    command += ["--steps", str(options.steps)] + ["--trl-checkpointing"] * options.trl_checkpointing
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    seconds = [step["seconds"] for step in found["steps"]]
    tokens = sum(step["tokens"] for step in found["steps"])
    print(
        f"{side}, {new_tokens} new tokens: {statistics.median(seconds):.2f} s a step, "
        f"{tokens / sum(seconds):.0f} tokens/s, peak {found['peak'] / 2**30:.2f} GiB",
        flush=True,
    )
    return found


def _compared(theirs: dict[str, Any], mine: dict[str, Any]) -> dict[str, Ratios]:
    def rates(found: dict[str, Any]) -> list[float]:
        return [step["tokens"] / step["seconds"] for step in found["steps"]]

    pairs = [a / b for a, b in zip(rates(mine), rates(theirs), strict=True)]
    peak = theirs["peak"] / mine["peak"]
    return {
        "tokens/s": {"min": min(pairs), "median": statistics.median(pairs), "max": max(pairs)},
        "peak memory": {"min": peak, "median": peak, "max": peak},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="steps to time on each side")
    parser.add_argument("--new-tokens", type=int, nargs="+", default=[16, 48])
    parser.add_argument("--trl-checkpointing", action="store_true", help="leave TRL's gradient checkpointing on")
    parser.add_argument("--side", choices=["prerlkit", "trl"], help=argparse.SUPPRESS)
    options = arguments(parser)
    if options.side:
        _side(options)
        return
    if options.quick:
        options.steps = 2
    found: dict[str, Ratios] = {}
    for new_tokens in options.new_tokens:
        sides = [_measured(side, new_tokens, options) for side in ("trl", "prerlkit")]
        found |= {f"GRPO, {new_tokens} new tokens, {k}": v for k, v in _compared(*sides).items()}
        cost, operations, rate = phases(min(options.repeats, 5), new_tokens)
        found[f"NSR-PreRL / GRPO training phase, {new_tokens} new tokens"] = cost
        for side, measured in zip(("TRL", "prerlkit"), sides, strict=True):
            shares = [operations / step["seconds"] / rate for step in measured["steps"]]
            spread = {"min": min(shares), "median": statistics.median(shares), "max": max(shares)}
            found[f"{side}, {new_tokens} new tokens: share of {rate / 1e9:.0f} GFLOP/s"] = spread
    settings = {
        "model": "SmolLM2-135M bfloat16",
        "prompts × samples": f"{PROMPTS} × {SAMPLES}",
        "trl_checkpointing": options.trl_checkpointing,
        "steps": options.steps,
    }
    report("a step against TRL's", found, settings, options.json)


if __name__ == "__main__":
    main()
