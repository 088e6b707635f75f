"""Measure a base model of the laboratory: what its answers get right, and how often they reflect."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.lab import traces
from benchmarks.lab.domains import DOMAINS
from prerlkit.evaluation.thoughts import mean_counts
from prerlkit.verify import Verifier, VerifierInput
from prerlkit.verify.registry import make


@dataclass(frozen=True, slots=True)
class Score:
    """Of a model under one prompt; shares from 0 to 1.

    Attributes:
        average: share of right samples (avg@k).
        solved: share of problems with a right sample among their k (pass@k).
        steps: share of right ones among all steps that were written: sums such as `9 * 4 = 36`, or edges.
        thoughts: per answer, of each kind.
        tokens: words per answer.
    """

    average: float
    solved: float
    steps: float
    thoughts: dict[str, float]
    tokens: float


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mode: str,
    *,
    domain: str = "reach",
    count: int = 128,
    samples: int = 16,
) -> Score:
    """Sample `samples` answers to each of the first `count` eval problems of the domain under the prompt `mode`."""
    own = DOMAINS[domain]
    verifier = make(own.verifier, {})
    chosen = own.problems("eval")[:count]
    rng = random.Random(0)
    prompts = [traces.prompt(own, problem, mode, rng) for problem in chosen]
    rows = [own.row(problem, rng) for problem in chosen]
    texts = _answers(model, tokenizer, [prompt for prompt in prompts for _ in range(samples)])
    passed = [_passes(verifier, rows[place // samples], text) for place, text in enumerate(texts)]
    groups = [passed[start : start + samples] for start in range(0, len(passed), samples)]
    steps = [step for place, text in enumerate(texts) for step in own.steps(chosen[place // samples], text)]
    return Score(
        average=sum(passed) / len(passed),
        solved=sum(map(any, groups)) / len(groups),
        steps=sum(steps) / max(1, len(steps)),
        thoughts=mean_counts(texts),
        tokens=sum(len(text.split()) for text in texts) / len(texts),
    )


def _passes(verifier: Verifier, row: Mapping[str, str], text: str) -> bool:
    return verifier.judge(VerifierInput("", text, row["answer"], row)).passed is True


@torch.inference_mode()
def _answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    torch.manual_seed(0)
    tokenizer.padding_side = "left"
    texts: list[str] = []
    for start in range(0, len(prompts), 256):
        inputs = tokenizer(list(prompts[start : start + 256]), return_tensors="pt", padding=True)
        done = model.generate(
            inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=True, top_k=0, max_new_tokens=96
        )
        texts += tokenizer.batch_decode(done[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts
