"""The inputs that take the most memory: prompts and completions at their limits, packed as the step packs them."""

from __future__ import annotations

from collections.abc import Iterator

from prerlkit.recipe.schema import Memory, Rollout, Stage
from prerlkit.types import Completion, Group, Prompt, Verdict

TOKEN = 1
"""Any token: without values all are alike, but contexts of different prompts must differ (equal ones are shared)."""


def prompts(count: int, length: int) -> list[Prompt]:
    """`count` different prompts of `length` tokens."""
    return [
        Prompt(id=str(i), text="", token_ids=tuple([TOKEN] * (length - 1) + [TOKEN + i % 100]), answer=None, row={})
        for i in range(count)
    ]


def batches(stage: Stage, memory: Memory, *, share_contexts: bool) -> Iterator[tuple[Group, ...]]:
    """Judged groups of two kinds: the longest sequences that there can be, and sequences that just fill the budget.

    Each fills two micro-batches where the step has that many: the second runs while the first one's gradients exist.
    """
    rollout = stage.rollout
    yield _groups(stage, memory, rollout.max_prompt_tokens, rollout.max_new_tokens, share_contexts)
    longest = _length(1, rollout.max_prompt_tokens, rollout.max_new_tokens, share_contexts)
    if longest < memory.microbatch_tokens:
        yield _groups(stage, memory, *_filling(rollout, memory.microbatch_tokens, share_contexts), share_contexts)


def _length(rows: int, prompt: int, new: int, share_contexts: bool) -> int:
    """Tokens of one prompt with `rows` completions that go through the model."""
    return (prompt if share_contexts else rows * prompt) + rows * new


def _fitting(budget: int, context: int, new: int, share_contexts: bool) -> int:
    """Completions of one context that go into one micro-batch."""
    return max(1, (budget - context) // new if share_contexts else budget // (context + new))


def _filling(rollout: Rollout, budget: int, share_contexts: bool) -> tuple[int, int]:
    """Lengths of a prompt and of its completions at which one group comes closest to the budget from below."""
    rows = rollout.group_size
    for prompt in (rollout.max_prompt_tokens // 2, rollout.max_prompt_tokens // 4, 1):
        new = (budget - _length(rows, max(1, prompt), 0, share_contexts)) // rows
        if new >= 1:
            return max(1, prompt), min(new, rollout.max_new_tokens)
    return 1, 1


def _groups(stage: Stage, memory: Memory, prompt: int, new: int, share_contexts: bool) -> tuple[Group, ...]:
    size = stage.rollout.group_size
    contexts = [1 if objective.space == "pretrain" else prompt for objective in stage.objective]
    fitting = _fitting(memory.microbatch_tokens, min(contexts), new, share_contexts)
    odd = 0 if any(objective.samples == "all" for objective in stage.objective) else 1  # the one that is left out
    rows = min(size, max(2, 2 * fitting + odd))  # more only repeats; a group needs both verdicts
    per_group = _length(rows, prompt, new, share_contexts)
    two_full = rows - odd >= 2 * fitting  # one group alone fills both micro-batches
    groups = 1 if two_full else max(1, -(-2 * memory.microbatch_tokens // per_group))
    count = min(stage.rollout.prompts_per_step, groups)
    count = max(count, stage.optimizer.updates_per_rollout)
    right = {o.samples for o in stage.objective} == {"positive"}
    made = []
    for asked in prompts(count, prompt):
        completion = Completion((TOKEN,) * new, "", (0.0,) * new, truncated=False)
        verdicts = [Verdict(score=float(right), passed=right) for _ in range(rows)]
        verdicts[0] = Verdict(score=float(not right), passed=not right)  # the odd one out, so that there is a signal
        made.append(Group(asked, (completion,) * rows, tuple(verdicts)))
    return tuple(made)
