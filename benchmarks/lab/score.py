"""Measure a base model of the laboratory: what its answers get right, and how often they reflect."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.lab import traces
from prerlkit.data.reach import Puzzle, apply, problems
from prerlkit.evaluation.thoughts import mean_counts
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

_VERIFIER = make("reach", {})
_SUM = re.compile(r"([0-9]+) ([-+*]) ([0-9]+) = ([0-9]+)")


@dataclass(frozen=True, slots=True)
class Score:
    """Of a model under one prompt; shares from 0 to 1.

    Attributes:
        average: share of right samples (avg@k).
        solved: share of problems with a right sample among their k (pass@k).
        arithmetic: share of right sums such as `9 * 4 = 36` among all that were written.
        thoughts: per answer, of each kind.
        tokens: words per answer.
    """

    average: float
    solved: float
    arithmetic: float
    thoughts: dict[str, float]
    tokens: float


def score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, mode: str, *, count: int = 128, samples: int = 16
) -> Score:
    """Sample `samples` answers to each of the first `count` eval problems under the prompt `mode`."""
    chosen = problems("eval")[:count]
    rng = random.Random(0)
    prompts = [traces.prompt(problem, mode, rng) for problem in chosen]
    texts = _answers(model, tokenizer, [prompt for prompt in prompts for _ in range(samples)])
    passed = [_passes(chosen[place // samples], text) for place, text in enumerate(texts)]
    groups = [passed[start : start + samples] for start in range(0, len(passed), samples)]
    sums = [match.groups() for text in texts for match in _SUM.finditer(text)]
    right = sum(apply(int(left), sign, int(other)) == int(result) for left, sign, other, result in sums)
    return Score(
        average=sum(passed) / len(passed),
        solved=sum(map(any, groups)) / len(groups),
        arithmetic=right / max(1, len(sums)),
        thoughts=mean_counts(texts),
        tokens=sum(len(text.split()) for text in texts) / len(texts),
    )


def _passes(problem: Puzzle, text: str) -> bool:
    row = {"numbers": " ".join(map(str, problem.numbers))}
    return _VERIFIER.judge(VerifierInput("", text, str(problem.target), row)).passed is True


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
