"""Which runs are repetitions of one thing, what sets the things apart, and what makes them hard to compare."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.evaluation.repetitions import POSITIVE, Mean, mean
from prerlkit.metrics.catalogue import STEP_SECONDS, TOKENS_GENERATED, TOKENS_TRAINED
from prerlkit.metrics.metric import Metric
from prerlkit.runs.run import Run
from prerlkit.secrets import redact
from prerlkit.suggest import nearest

_IRRELEVANT = re.compile(
    r"(seed|name|version|description|model\.revision|(output|health|memory)\..*|.*\.max_sequences)$"
)
"""Keys that don't make another experiment: which repetition it is, how it is watched, what trades time for memory."""
_SECTIONS = ("adapter", "rollout", "optimizer")
_IN_A_LABEL = 3
_ABSENT = "–"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that is shown and takes no part in the statistics."""

    run: Run
    why: str


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Repetitions of one thing.

    Attributes:
        runs: completed and whole ones, one a seed, by seed.
    """

    label: str
    runs: tuple[Run, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def by_seed(self) -> dict[int, Run]:
        return {run.seed: run for run in self.runs}


def group(runs: Sequence[Run], by: Sequence[str] = ()) -> list[RunGroup]:
    """Runs as groups, in the order in which they were given.

    Args:
        by: dotted keys of the recipe whose values make a group. None: the recipe's name, and where recipes of one name
            differ in more than seed, output, health and memory, what they differ in.

    Raises:
        UsageError: no recipe has such a key.
    """
    leaves = {id(run): dict(_leaves(run.recipe)) for run in runs}
    labels: dict[str, list[Run]] = {}
    differing = {} if by else _differing(runs, leaves)
    for key in by:
        _check_key(key, runs)
    for run in runs:
        if by:
            label = ", ".join(f"{key}={_short(at(run.recipe, key))}" for key in by)
        else:
            keys = differing[run.name]
            values = [f"{key}={_short(leaves[id(run)].get(key, _ABSENT))}" for key in keys[:_IN_A_LABEL]]
            rest = tuple(leaves[id(run)].get(key, _ABSENT) for key in keys[_IN_A_LABEL:])
            values += [f"+{len(rest)} keys, {_digest(rest)}"] if rest else []
            label = " ".join([run.name, *values])
        labels.setdefault(redact(label), []).append(run)
    return [_group(label, own) for label, own in labels.items()]


def _group(label: str, runs: Sequence[Run]) -> RunGroup:
    kept: dict[int, Run] = {}
    left_out = []
    for run in runs:
        if run.state != "completed":
            left_out.append(LeftOut(run, run.state))
        elif run.missing:
            left_out.append(LeftOut(run, "; ".join(run.missing)))
        elif run.seed in kept:
            left_out.append(LeftOut(run, f"seed {run.seed} is there already: {kept[run.seed].folder}"))
        else:
            kept[run.seed] = run
    return RunGroup(label, tuple(kept[seed] for seed in sorted(kept)), tuple(left_out))


def _how(one: LeftOut) -> str:
    if one.run.state == "completed":
        return f"is damaged: {one.why}"
    planned = sum(stage.get("steps", 0) for stage in one.run.recipe.get("stages", ()))
    return f"{one.why} after {len(one.run.steps)} of {planned} steps"


def cut_short(groups: Sequence[RunGroup]) -> list[str]:
    """What the groups' means lack: runs that were cut, or that have fewer steps or evaluations than others."""
    found = []
    for own in groups:
        kept = {run.seed for run in own.runs}
        lost = [one for one in own.left_out if one.run.seed not in kept]
        if lost and own.runs:
            why = "; ".join(f"seed {one.run.seed} {_how(one)}" for one in lost[:5])
            found.append(f"{own.label}: its means are of {len(own.runs)} of {len(own.runs) + len(lost)} seeds: {why}")
        steps = sorted({len(run.steps) for run in own.runs})
        if len(steps) > 1:
            found.append(
                f"{own.label}: its runs did {steps[0]} to {steps[-1]} steps: what is compared ends at the least"
            )
        evaluated = {run.seed: {line["step"] for line in run.evaluations} for run in own.runs}
        every = set().union(*evaluated.values())
        for seed, there in evaluated.items():
            if lacks := sorted(step for step in every - there if step <= steps[0]):
                found.append(f"{own.label}: seed {seed} has no evaluation at step {', '.join(map(str, lacks[:5]))}")
    return found


def incomparable(groups: Sequence[RunGroup]) -> list[str]:
    """Return what makes a difference of two groups' accuracies or rewards meaningless; one sentence each."""
    runs = [run for own in groups for run in own.runs]
    found = []
    sections: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("data or its split", ("data",)),
        ("verifiers or reward", ("verifiers", "reward")),
        ("evaluation settings", ("evaluation.prompts", "evaluation.greedy", "evaluation.samples",
                                 "evaluation.temperature", "evaluation.max_new_tokens")),
        ("base models", ("model.id", "model.quantization")),
    )  # fmt: skip
    for what, keys in sections:
        if differ := [key for key in keys if len({_word(at(run.recipe, key)) for run in runs}) > 1]:
            found.append(f"{what} differ ({', '.join(differ)}): accuracies and rewards are not of the same thing")
    return found


def warnings(groups: Sequence[RunGroup]) -> list[str]:
    """Return what else makes the groups, or the runs within one, hard to compare; one sentence each."""
    runs = [run for own in groups for run in own.runs]
    found = []
    for own in groups:
        inside = _differing(own.runs, {id(run): dict(_leaves(run.recipe)) for run in own.runs}, together=True)
        if differ := inside.get("", []):
            found.append(f"{own.label}: its runs differ in more than the seed: {', '.join(differ[:5])}")
    for what, path in (
        ("hardware", "hardware.device"), ("hardware", "hardware.gpu.name"), ("hardware", "hardware.cpu"),
        ("hardware", "hardware.cpu_count"), ("threads", "hardware.torch_threads"),
    ):  # fmt: skip
        # What a run doesn't tell, such as an older one its processor, is no difference.
        values = sorted({_word(known) for run in runs if (known := at(run.environment, path)) is not None})
        if len(values) > 1:
            found.append(f"{what} differ ({path}: {', '.join(values)}): seconds are not comparable")
    return found


def at(recipe: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key; items of a list by index or by their `name`. None where there is none."""
    node: Any = recipe
    for part in key.replace("[", ".").replace("]", "").split("."):
        if isinstance(node, Mapping):
            node = node.get(part)
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, list):
            node = next((item for item in node if isinstance(item, Mapping) and item.get("name") == part), None)
        else:
            return None
    return node


def _check_key(key: str, runs: Sequence[Run]) -> None:
    if all(at(run.recipe, key) is None for run in runs):
        known = dict.fromkeys(name for run in runs for name, _ in _leaves(run.recipe))
        clause = nearest(key, known)
        raise UsageError(
            f'--by: no recipe has a key "{key}"{clause if clause.startswith(";") else ""}',
            "For example --by stages.rl.learning_rate, or --by name. `recipe.yaml` in a run folder has all keys.",
        )


def _differing(
    runs: Sequence[Run], leaves: Mapping[int, Mapping[str, Any]], *, together: bool = False
) -> dict[str, list[str]]:
    """For each recipe name the keys in which recipes of that name differ; `together`: of all names as one."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        by_name.setdefault("" if together else run.name, []).append(leaves[id(run)])
    found = {}
    for name, own in by_name.items():
        keys = [
            key
            for key in dict.fromkeys(key for one in own for key in one)
            if not _IRRELEVANT.match(key) and len({_word(one.get(key, _ABSENT)) for one in own}) > 1
        ]
        found[name] = [key for key in keys if not _inherited(key, keys)]
    return found


def _inherited(key: str, keys: Sequence[str]) -> bool:
    """Whether a stage's key differs only because the recipe's own, which it starts from, does."""
    match = re.match(rf"stages\.[^.]+\.((?:{'|'.join(_SECTIONS)})\..*)$", key)
    return match is not None and match[1] in keys


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a recipe with its dotted key; stages by their names."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif path == "stages" and isinstance(value, list):
        for item in value:
            yield from _leaves({k: v for k, v in item.items() if k != "name"}, f"{path}.{item.get('name')}")
    else:
        yield path, value


def _word(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else _word(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _digest(values: tuple[Any, ...]) -> str:

    return hashlib.sha256(_word(values).encode()).hexdigest()[:6]


def costs(own: RunGroup) -> dict[str, Mean]:
    """Return what a run of the group cost, as means over its completed runs."""

    def total(run: Run, metric: Metric) -> float:
        return float(sum(step.get(metric.name, 0) for step in run.steps))

    values = {
        "steps": [float(len(run.steps)) for run in own.runs],
        "tokens sampled": [total(run, TOKENS_GENERATED) for run in own.runs],
        "tokens trained": [total(run, TOKENS_TRAINED) for run in own.runs],
        "seconds": [total(run, STEP_SECONDS) for run in own.runs],
        "peak memory": [float(run.summary.get("peak_memory_bytes", 0)) for run in own.runs],
    }
    return {name: mean(numbers, POSITIVE) for name, numbers in values.items()}
