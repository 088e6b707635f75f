"""One tiny model all the way: plan, a run of two stages, export, PEFT, merge, and reload in its published class."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from prerlkit.errors import PrerlkitError
from prerlkit.plan.device import at_hand
from prerlkit.plan.plan import make_plan
from prerlkit.policy.causal import causal_class
from prerlkit.publish.export import export
from prerlkit.publish.merge import merge
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.trained import TrainedRun
from prerlkit.train.callbacks import SilentCallback, StopSignal
from prerlkit.train.run import run

TOKENS = torch.tensor([list(b"What is 3 + 4? It is 7, I think.")])
EXACT = 1e-4
"""Largest difference of a logit, relative to the largest logit, between two float32 models that are one."""


@dataclass
class Trial:
    """What happened.

    Attributes:
        seconds: it took.
        refused: the message, where the model was refused before the first step; "" otherwise.
        messages: all lines that a person saw.
        adapter, merged: largest relative difference of logits: PEFT on the base, and the merged model, each loaded by
            transformers, against each other or the run's own policy.
    """

    seconds: float = 0.0
    refused: str = ""
    messages: list[str] = field(default_factory=list)
    adapter: float = float("nan")
    merged: float = float("nan")


class Listener(SilentCallback):
    def __init__(self, messages: list[str]) -> None:
        self._messages = messages

    def on_message(self, line: str) -> None:
        self._messages.append(line)


def recipe_for(folder: Path, **changes: Any) -> Recipe:
    """Return a recipe of two stages of one step each for the model in `folder`."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"id": str(folder), "dtype": "float32", "device": "cpu"},
            "adapter": {"rank": 2, "alpha": 4},
            "data": {
                "train": {"kind": "generator", "name": "arithmetic", "rows": 12, "settings": {"low": 0, "high": 9}},
                "eval": {"kind": "held_out", "rows": 2},
                "prompt": "{question}",
                "chat": False,
            },
            "verifiers": [{"name": "regex", "settings": {"must_match": ["[0-9A-Z]"]}}],
            "rollout": {"group_size": 6, "prompts_per_step": 2, "max_prompt_tokens": 40, "max_new_tokens": 4},
            "stages": [
                {"name": "warmup", "objective": "nsr-prerl", "steps": 1, "learning_rate": 3e-2},
                {"name": "rl", "objective": "grpo", "steps": 2, "learning_rate": 3e-2},
            ],
            "evaluation": {"prompts": 2, "when": []},
            **changes,
        }
    )


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    out: torch.Tensor = model(input_ids=TOKENS, use_cache=False).logits
    return out.float()


def apart(one: torch.Tensor, two: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return ((one - two).abs().max() / two.abs().max()).item()


def whole(folder: Path, architecture: str) -> Any:
    """Load a model in float32 as the class that it was published as."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    kind = getattr(transformers, architecture) if architecture else causal_class(config)
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def go(model: Path, output: Path, architecture: str = "", **changes: Any) -> Trial:
    """Take the model in `model` all the way. Raises what no user should see; a refusal is part of the result."""
    done, begun = Trial(), time.perf_counter()
    recipe = recipe_for(model, **changes)
    stop, steps = StopSignal(), output / "metrics.jsonl"
    try:
        make_plan(recipe, str(model), at_hand("cpu"))
        run(recipe, output, recipe_folder=None, callback=Listener(done.messages), stop=stop)
    except PrerlkitError as error:
        if steps.is_file() and steps.read_text():
            raise
        done.refused = error.message
    else:
        _publish(model, output, architecture, done)
    done.seconds = time.perf_counter() - begun
    return done


def _publish(model: Path, output: Path, architecture: str, done: Trial) -> None:
    from peft import PeftModel

    exported = export(output)
    made = merge(output, dtype="float32")
    policy = TrainedRun.open(output)
    base = whole(model, "")
    before = logits(base)
    by_peft = logits(PeftModel.from_pretrained(base, str(exported.folder)).eval())
    assert apart(by_peft, before) > 10 * EXACT, "the adapter changes nothing"
    done.adapter = max(one.error for one in exported.checks if not one.note)
    done.merged = apart(logits(whole(made.folder, architecture)), by_peft)
    assert done.merged < EXACT, f"the merged model is {done.merged:.2g} from the policy"
    published, again = (json.loads((place / "config.json").read_text()) for place in (model, made.folder))
    assert again["architectures"] == published["architectures"]
    assert policy.complete
