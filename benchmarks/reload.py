"""Is `<run>/adapter`, loaded by plain transformers and PEFT, the policy that was trained?

    python -m benchmarks.reload RUN [--prompts 100]

Prints the largest difference of logits, in float32, between the stack of the run's stages and the one adapter; how far
both are from the base, so that "equal" means something; and the greedy accuracy by transformers' own `generate`, one
prompt at a time, compared with the run's last evaluation. For runs whose stages are stacked.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prerlkit.policy.policy import load_policy
from prerlkit.policy.save import WEIGHTS
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe
from prerlkit.train.prepare import Prepared, prepare
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make


@torch.no_grad()
def logits_difference(run: Path, recipe: Recipe, prepared: Prepared, prompts: int) -> tuple[float, float, float]:
    """(largest |stack − adapter|, largest |stack − base|, largest |stack|) over the logits of some eval prompts."""
    model = recipe.model.model_copy(update={"dtype": "float32", "device": "cpu"})
    live = load_policy(prepared.model.path, model, prepared.tokens)
    for stage in recipe.stages:
        live.adapters.restore(stage.name, stage.adapter, load_file(run / "adapters" / stage.name / WEIGHTS))
    plain = AutoModelForCausalLM.from_pretrained(prepared.model.path, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(plain, str(run / "adapter"))
    difference = distance = scale = 0.0
    for prompt in prepared.prompts.eval[:prompts]:
        ids = torch.tensor([prompt.token_ids])
        stack, one = live.base(input_ids=ids).logits, loaded(input_ids=ids).logits
        with loaded.disable_adapter():
            base = loaded(input_ids=ids).logits
        difference = max(difference, (stack - one).abs().max().item())
        distance = max(distance, (stack - base).abs().max().item())
        scale = max(scale, stack.abs().max().item())
    return difference, distance, scale


@torch.no_grad()
def plain_accuracy(run: Path, recipe: Recipe, prepared: Prepared, prompts: int) -> float:
    """Greedy accuracy by `generate` on the base and the adapter, in the recipe's dtype."""
    base = AutoModelForCausalLM.from_pretrained(prepared.model.path, dtype=getattr(torch, recipe.model.dtype))
    model = PeftModel.from_pretrained(base, str(run / "adapter")).eval()
    verifier = make(recipe.verifiers[0].name, recipe.verifiers[0].settings)
    limit = recipe.evaluation.max_new_tokens or recipe.rollout.max_new_tokens
    passed, chosen = 0, prepared.prompts.eval[:prompts]
    for prompt in chosen:
        ids = torch.tensor([prompt.token_ids])
        mask = torch.ones_like(ids)
        out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=limit, do_sample=False)
        text = prepared.tokens.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        passed += bool(verifier.judge(VerifierInput(prompt.text, text, prompt.answer, prompt.row)).passed)
    return passed / len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--prompts", type=int, default=100)
    options = parser.parse_args()
    recipe = load(str(options.run / "recipe.yaml")).recipe
    prepared = prepare(recipe, options.run)
    difference, distance, scale = logits_difference(options.run, recipe, prepared, min(20, options.prompts))
    print(f"logits, float32: |stack - adapter| <= {difference:.2g}, |stack - base| <= {distance:.3g}, of {scale:.3g}")
    accuracy = plain_accuracy(options.run, recipe, prepared, options.prompts)
    last = json.loads((options.run / "summary.json").read_text())["evaluations"][-1]
    print(f"greedy accuracy: plain transformers {accuracy:.3f}, run {last['name']} {last['accuracy']['value']:.3f}")


if __name__ == "__main__":
    main()
