"""Completions to read: those of samples.jsonl, cut and thinned out to keep the page small, with their advantages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from prerlkit.objective.advantage import advantages, select
from prerlkit.objective.choices import Objective
from prerlkit.page.text import cut, plain
from prerlkit.report import tokens
from prerlkit.runs.run import Run
from prerlkit.secrets import redact
from prerlkit.types import Completion, Group, Prompt, Verdict

BUDGET = 2_000_000
"""Bytes of a page that completions may take, all runs together."""
LONGEST = 3_000
"""Characters of one completion or prompt; of a longer one the beginning and the end are kept."""
_SHORT = 400
_MOST_STEPS = 500
"""Steps of a run whose completions are looked at. Of a longer one every k-th is; the others aren't even parsed."""
_OBJECTIVES: TypeAdapter[tuple[Objective, ...]] = TypeAdapter(tuple[Objective, ...])


def rollouts(runs: Sequence[Run], names: Sequence[str], budget: int = BUDGET) -> list[dict[str, Any]]:
    """For each run the groups that are shown: what report.js reads.

    Where all of them would take more than `budget` bytes, every k-th step of a run is kept, and its first and last one.
    """
    return [_of_run(run, name, budget // max(1, len(runs))) for run, name in zip(runs, names, strict=True)]


def _of_run(run: Run, name: str, budget: int) -> dict[str, Any]:
    objectives = _objectives(run)
    considered = _considered([line["step"] for line in run.steps])
    sizes: dict[int, int] = {}
    for line in _lines(run, considered):
        step = int(line.get("step", 0))
        sizes[step] = sizes.get(step, 0) + _bytes(_group(line, {}, str))
    kept = _affordable(sizes, budget)
    prompts: dict[str, int] = {}
    groups = []
    for line in _lines(run, kept) if kept else ():
        if line.get("step") in kept:
            group = _group(line, objectives, redact)
            groups.append({**group, "prompt": prompts.setdefault(group["prompt"], len(prompts))})
    return {
        "name": name,
        "stages": list(run.stages),
        "prompts": list(prompts),
        "groups": groups,
        "steps": len(sizes) if considered is None else len(run.steps),
        "kept": len(kept),
    }


def _considered(steps: Sequence[int]) -> frozenset[int] | None:
    """Return at most about `_MOST_STEPS` of the steps, evenly, the last among them; None where that is all of them."""
    if len(steps) <= _MOST_STEPS:
        return None
    return frozenset((*steps[:: -(-len(steps) // _MOST_STEPS)], steps[-1]))


def _lines(run: Run, steps: Container[int] | None) -> Iterator[Mapping[str, Any]]:
    """Lines of samples.jsonl, with what the probe `change` says of their tokens as `recorded` of each completion."""
    measured = tokens.token_groups(run, steps)
    seen: Counter[int] = Counter()
    for line in run.samples(steps):
        step = int(line.get("step", 0))
        own = measured.get((step, seen[step], str(line.get("prompt_id", ""))), ())
        seen[step] += 1
        completions = line.get("completions") or []
        if len(own) == len(completions):
            completions = [{**c, "recorded": said} for c, said in zip(completions, own, strict=True)]
        yield {**line, "completions": completions}


def _affordable(sizes: Mapping[int, int], budget: int) -> frozenset[int]:
    """Steps that fit: all of them, or every k-th with the smallest k that fits, and the first and the last."""
    steps = sorted(sizes)
    total, k = sum(sizes.values()), 1
    chosen = steps
    while chosen and total > budget and k < len(steps):
        k = max(k + 1, min(len(steps), -(-total * k // budget) if k == 1 else k + 1))
        chosen = sorted({*steps[::k], steps[-1]})
        total = sum(sizes[step] for step in chosen)
    while chosen and total > budget:  # a few steps alone are too much: the last ones say more
        total -= sizes[chosen[0]]
        chosen = chosen[1:]
    return frozenset(chosen)


def _group(
    line: Mapping[str, Any], objectives: Mapping[str, tuple[Objective, ...]], clean: Callable[[str], str]
) -> dict[str, Any]:
    """What is shown of a line of samples.jsonl. `clean` is given every text whole, before it is cut."""

    def short(text: Any, limit: int) -> str:
        return cut(clean(str(text)), limit)[0]

    completions = line.get("completions") or []
    marks = _marks(completions, objectives.get(str(line.get("stage")), ()))
    return {
        "step": line.get("step"),
        "stage": line.get("stage"),
        "id": short(line.get("prompt_id", ""), _SHORT),
        "prompt": short(line.get("prompt", ""), LONGEST),
        "answer": None if line.get("answer") is None else short(line["answer"], _SHORT),
        "completions": [
            {**_completion(c, *mark, short), "shown": tokens.shown_tokens(c.get("recorded") or {}, clean, LONGEST)}
            for c, mark in zip(completions, marks, strict=True)
        ],
    }


def _completion(
    completion: Mapping[str, Any], advantage: float | None, trained: bool | None, short: Callable[[Any, int], str]
) -> dict[str, Any]:
    details = completion.get("details") or {}
    count = completion.get("tokens") or 0
    logprob = completion.get("logprob")
    return {
        "text": short(completion.get("text", ""), LONGEST),
        "characters": len(completion.get("text", "")),
        "tokens": count,
        "truncated": bool(completion.get("truncated")),
        "logprob": round(logprob / count, 3) if count and isinstance(logprob, int | float) else None,
        "score": completion.get("score"),
        "passed": completion.get("passed"),
        "reason": short(completion.get("reason", ""), _SHORT),
        "details": short(json.dumps(details, ensure_ascii=False), _SHORT) if details else "",
        "advantage": None if advantage is None else round(advantage, 3),
        "trained": trained,
    }


def _objectives(run: Run) -> dict[str, tuple[Objective, ...]]:
    """Objectives of each stage; nothing for a stage that another version's recipe describes."""
    found = {}
    for stage in run.recipe.get("stages") or ():
        try:
            found[str(stage["name"])] = _OBJECTIVES.validate_python(tuple(stage["objective"]))
        except (ValidationError, KeyError, TypeError):
            continue
    return found


def _marks(
    completions: Sequence[Mapping[str, Any]], objectives: Sequence[Objective]
) -> list[tuple[float | None, bool | None]]:
    """(advantage under the stage's first objective, whether any of them trains on it), by the functions of training.

    Both are None where the stage's objectives are not known.
    """
    if not objectives:
        return [(None, None)] * len(completions)
    group = Group(
        Prompt("", "", ()),
        tuple(Completion((0,) * (c.get("tokens") or 0), "", (), bool(c.get("truncated"))) for c in completions),
        tuple(Verdict(c.get("score"), c.get("passed")) for c in completions),
    )
    values = advantages(group.verdicts, objectives[0].advantage)
    carrying = [sample.completion for one in objectives for sample in select([group], one) if sample.carries_gradient]
    return [
        (value, any(own is completion for own in carrying))
        for value, completion in zip(values, group.completions, strict=True)
    ]


def _bytes(value: Any) -> int:
    """Return its length in the page, where <, > and & take six characters."""
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 5 * sum(text.count(c) for c in "<>&")
