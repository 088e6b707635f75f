"""RL on an adapter of plain PEFT: an adapter trained without prerlkit, NSR-PreRL and GRPO on top, one export.

    python -m benchmarks.start_adapter --output runs/start

The table is docs/start-from-an-adapter.md's: how far the export's logits are from the live stack's, and greedy accuracy
of the live stack by this kit's engine and of the export by plain transformers and PEFT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import prerlkit
from prerlkit.data.prompts import build_for
from prerlkit.data.reach import expressions
from prerlkit.policy.source import resolve
from prerlkit.recipe.load import load
from prerlkit.types import Prompt
from prerlkit.verify import registry
from prerlkit.verify.base import Verifier, VerifierInput

QUESTIONS = 64


def train_by_peft(model: str, prompts: list[Prompt], folder: Path) -> None:
    """Train an adapter with PEFT and torch alone: next tokens of the prompts and their right answers."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"])
    peft = get_peft_model(base, config)
    tokenizer = AutoTokenizer.from_pretrained(model)
    optimizer = torch.optim.AdamW([p for p in peft.parameters() if p.requires_grad], lr=1e-3)
    for step in range(20):
        for prompt in prompts[4 * step : 4 * step + 4]:
            ids = torch.tensor([[*prompt.token_ids, *tokenizer(solution(prompt))["input_ids"]]])
            peft(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    peft.save_pretrained(folder)


def solution(prompt: Prompt) -> str:
    """Return an attempt that hits the prompt's target."""
    numbers = tuple(sorted(int(number) for number in prompt.row["numbers"].split()))
    return next(text for text, result in expressions(numbers).items() if str(result) == prompt.answer)


def judge() -> Verifier:
    """Return the task's verifier."""
    use = load("reach_dsrl").recipe.verifiers[0]
    return registry.make(use.name, use.settings, None)


def recipe_of(adapter: Path) -> str:
    """Return a recipe as text: reach_dsrl's, with its two stages short and on the adapter."""
    data = load("reach_dsrl").recipe.model_dump(mode="json")
    warmup, rl = data["stages"]
    data["stages"] = [{"name": "start", "from": str(adapter)}, {**warmup, "steps": 5}, {**rl, "steps": 10}]
    data["evaluation"] = {**data["evaluation"], "when": ["after"], "prompts": QUESTIONS, "greedy": True}
    data["evaluation"] |= {"samples": 0, "pass_at": [1]}
    return json.dumps({**data, "name": "start_adapter"})  # JSON is YAML


def greedy_by_transformers(model: str, adapter: Path, prompts: list[Prompt], new: int) -> tuple[list[bool], object]:
    """Return which prompts the export answers right, by PEFT and transformers' `generate`, and the model."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    policy = PeftModel.from_pretrained(base, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    verifier, right = judge(), []
    for prompt in prompts:
        ids = torch.tensor([prompt.token_ids])
        made = policy.generate(input_ids=ids, do_sample=False, max_new_tokens=new)[0, ids.shape[1] :]
        text = tokenizer.decode(made, skip_special_tokens=True)
        judged = verifier.judge(VerifierInput(prompt.text, text, prompt.answer, prompt.row, False, len(made)))
        right.append(bool(judged.passed))
    return right, policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    out = options.output
    recipe = load("reach_dsrl").recipe
    model = resolve(recipe.model).path
    prompts = build_for(recipe, AutoTokenizer.from_pretrained(model), None)
    if not (out / "peft").exists():
        train_by_peft(model, list(prompts.train), out / "peft")
    (out / "recipe.yaml").write_text(recipe_of(out / "peft"), encoding="utf-8")
    command = [sys.executable, "-m", "prerlkit"]
    subprocess.run([*command, "run", str(out / "recipe.yaml"), "-o", str(out / "run"), "--resume", "-q"], check=True)
    if not (out / "run" / "export").exists():
        subprocess.run([*command, "export", str(out / "run")], check=True)
    lines = (out / "run" / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    kit = round(json.loads(lines[-1])["accuracy"]["value"] * QUESTIONS)
    questions = list(prompts.eval[:QUESTIONS])
    right, exported = greedy_by_transformers(model, out / "run" / "export", questions, recipe.rollout.max_new_tokens)
    live = prerlkit.load_policy(out / "run", device="cpu", dtype="float32")
    with torch.no_grad():
        pairs = [(live.model, exported), (live.model, AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32))]
        worst = [
            max(
                (one(torch.tensor([q.token_ids])).logits - two(torch.tensor([q.token_ids])).logits).abs().max().item()
                for q in questions
            )
            for one, two in pairs
        ]
    print("| | |\n|---|---|")
    print(f"| largest difference of a logit, export and live stack, {len(questions)} prompts | {worst[0]:.1e} |")
    print(f"| the same, bare base and live stack | {worst[1]:.1f} |")
    print(f"| greedy accuracy of the live stack, this kit | {kit} of {QUESTIONS} |")
    print(f"| greedy accuracy of the export, plain transformers and PEFT | {sum(right)} of {len(right)} |")


if __name__ == "__main__":
    main()
