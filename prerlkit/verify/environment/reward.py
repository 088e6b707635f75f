"""Calls an environment's reward functions on one completion. An exception is no score.

The package's `Rubric.score_rollout` turns an exception of a reward function into 0.0. With negative-only training a
crash would be the training signal, so the functions are called here, with the objects that their rubric gives them.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prerlkit.plugins import where
from prerlkit.verify.base import VerifierInput
from prerlkit.verify.environment.load import PACKAGE, LoadedEnvironment, RewardFunction


@dataclass(frozen=True, slots=True)
class Reward:
    """What the functions gave.

    Attributes:
        value: the weighted sum, or None where a function with a weight has no score.
        parts: each function's score by its name; None where it has none.
        failure: why there is no value, or "".
    """

    value: float | None
    parts: Mapping[str, float | None]
    failure: str


def bounds(functions: tuple[RewardFunction, ...]) -> tuple[float, float]:
    """Return the lowest and the highest weighted sum of functions whose scores lie in [0, 1]."""
    weights = [one.weight for one in functions]
    return math.fsum(w for w in weights if w < 0), math.fsum(w for w in weights if w > 0)


def arguments(function: Callable[..., Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """Return those objects that a function's parameters name; all of them where it takes `**kwargs`."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(objects)
    return {name: value for name, value in objects.items() if name in parameters}


async def score(function: Callable[..., Any], objects: Mapping[str, Any]) -> float:
    """Return what a sync or async reward function gives, as a number.

    Raises:
        Exception: the function's, or its value is no finite number.
    """
    value = function(**arguments(function, objects))
    if inspect.isawaitable(value):
        value = await value
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"it returned {number}")
    return number


async def reward(loaded: LoadedEnvironment, sample: VerifierInput) -> Reward:
    """Return the environment's reward of one completion.

    A function of weight 0 is a metric: where it raises, its part is None and the value stays.
    """
    parts: dict[str, float | None] = {}
    terms: list[float] = []
    try:
        state = _state(sample, loaded.environment)
        state = await loaded.environment.setup_state(state) or state
    except Exception as error:  # noqa: BLE001 - an environment's setup_state may raise anything
        return Reward(None, parts, f"the environment can't take the row: {where(error)}")
    for one in loaded.functions:
        try:
            parts[one.name] = await score(one.function, one.rubric.score_objects(state))
        except Exception as error:  # noqa: BLE001 - a reward function may raise anything
            parts[one.name] = None
            if one.weight:
                return Reward(None, parts, f'reward function "{one.name}" raised {where(error)}')
        else:
            terms.append(one.weight * (parts[one.name] or 0.0))
    return Reward(math.fsum(terms), parts, "")


def _state(sample: VerifierInput, environment: Any) -> Any:
    """Return the package's state after a rollout of one turn, without what only a call of a model brings."""
    package = importlib.import_module(PACKAGE)
    types = importlib.import_module(f"{PACKAGE}.types")
    messages = importlib.import_module(f"{PACKAGE}.utils.message_utils")
    row = dict(sample.row)
    row["info"] = info_of(row)
    row["answer"] = row.get("answer", "") if sample.answer is None else sample.answer
    prompt = row.get("prompt")
    if not isinstance(prompt, list):
        system = [{"role": "system", "content": environment.system_prompt}] if environment.system_prompt else []
        text = row.get("question", prompt)
        prompt = [*system, {"role": "user", "content": sample.prompt if text is None else str(text)}]
    row["prompt"] = messages.normalize_messages(prompt, field_name="prompt")
    completion = messages.normalize_messages(
        [{"role": "assistant", "content": sample.completion}], field_name="completion"
    )
    state = package.State(input=types.flatten_task_input(row))
    state["task"] = state["input"]
    step = {"prompt": row["prompt"], "completion": completion, "response": None, "tokens": None, "extras": {}}
    step |= {"reward": None, "advantage": None, "is_truncated": sample.truncated, "trajectory_id": uuid.uuid4().hex}
    after = {
        "prompt": row["prompt"],
        "completion": completion,
        "trajectory": [step],
        "trajectory_id": step["trajectory_id"],
        "is_completed": True,
        "is_truncated": sample.truncated,
        "timing": types.RolloutTiming(),
        "tool_defs": [],
        **dict.fromkeys(("reward", "metrics", "error", "final_env_response")),
    }
    for key, value in after.items():
        state[key] = value
    return state


def info_of(row: Mapping[str, Any]) -> Any:
    """Return the row's column `info`, which data sets keep as JSON text or as an object. An empty one where it lacks.

    Raises:
        ValueError: it is text that is no JSON.
    """
    info = row.get("info")
    return json.loads(info) if isinstance(info, str) else ({} if info is None else info)
