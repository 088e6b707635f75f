"""Loads an environment of the PyPI package `verifiers`, and refuses those whose reward needs more than one completion.

The package is imported by name at run time: `import verifiers` would be this checkout's folder to a type checker.
"""

from __future__ import annotations

import importlib
import inspect
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.version import Version

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.install import pip_install
from prerlkit.plugins import import_file, where

PACKAGE = "verifiers"
_FROM, _BELOW = Version("0.2.1"), Version("0.3")
_LOADER = "load_environment"
_OWN = ("rollout", "env_response", "get_prompt_messages", "add_model_response", "render_completion")
"""Methods that make a rollout. An environment that overrides one does more than judge one completion."""


@dataclass(frozen=True, slots=True)
class RewardFunction:
    """One reward function of an environment.

    Attributes:
        name: unique in the environment.
        function: sync or async.
        weight: its rubric's; 0 for a metric.
        rubric: the one that it belongs to, which knows the objects that it may ask for.
    """

    name: str
    function: Any
    weight: float
    rubric: Any


@dataclass(frozen=True, slots=True)
class LoadedEnvironment:
    """An environment that can judge one completion at a time."""

    environment: Any
    functions: tuple[RewardFunction, ...]


def require_package() -> None:
    """Raise PrerlkitError where the package is not installed in a version that is known to work.

    Its distribution is looked for, not its module: a checkout of ours on the path has a folder `verifiers` too.
    """
    try:
        version = Version(metadata.version(PACKAGE))
    except metadata.PackageNotFoundError:
        raise PrerlkitError(
            'The verifier "environment" needs the PyPI package verifiers, which is not installed.',
            f"Run: {pip_install('environments')}",
        ) from None
    if not _FROM <= version < _BELOW:
        raise PrerlkitError(
            f'The verifier "environment" needs verifiers from {_FROM} on and below {_BELOW}; {version} is installed.',
            f"Run: {pip_install('environments')}",
        )


def module_name(environment_id: str) -> str:
    """Return the module of an environment's id, as the package finds it: `owner/my-env` is `my_env`."""
    return environment_id.rpartition("/")[2].replace("-", "_")


def code_name(environment_id: str) -> str:
    """Return what an id would run in the form of a verifier's name: a file, or `module:load_environment`."""
    return environment_id if environment_id.endswith(".py") else f"{module_name(environment_id)}:{_LOADER}"


def load(environment_id: str, args: Mapping[str, Any]) -> LoadedEnvironment:
    """Return the environment that the module's `load_environment(**args)` makes.

    Raises:
        UsageError: the module can't be imported, it fails to make the environment, or the environment is not a
            single-turn one that scores each completion by itself.
    """
    make = vars(_module(environment_id)).get(_LOADER)
    what = f'environment "{environment_id}"'
    if not callable(make):
        raise UsageError(f"{what}: its module has no function {_LOADER}", "Name a module that defines it.")
    try:
        with _kept_signal_handlers():
            environment = make(**args)
    except Exception as error:
        raise UsageError(
            f"{what} can't be loaded: {where(error)}", "Look at the settings id and args, and at what it downloads."
        ) from error
    package = importlib.import_module(PACKAGE)
    if why := _not_single_turn(package, environment):
        raise UsageError(
            f"{what} {why}",
            "The verifier judges one completion at a time: name a single-turn environment without tools.",
        )
    return LoadedEnvironment(environment, _functions(package, environment.rubric, what))


def _module(environment_id: str) -> ModuleType:
    path = Path(environment_id).expanduser()
    if environment_id.endswith(".py") and not path.is_file():
        raise UsageError(f"no file {path.absolute()}", "The setting id is a path from the working directory.")
    try:
        if environment_id.endswith(".py"):
            return import_file(path, "prerlkit_environment")
        return importlib.import_module(module_name(environment_id))
    except (Exception, SystemExit) as error:
        raise UsageError(
            f'environment "{environment_id}" fails to import: {where(error)}',
            "Install its package where prerlkit is installed, or give the path of its file.",
        ) from error


@contextmanager
def _kept_signal_handlers() -> Iterator[None]:
    """An environment replaces the process's handlers when it is made; restore them."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _not_single_turn(package: ModuleType, environment: Any) -> str:
    """Return why an environment needs more than one completion and its row, or ""."""
    kind = type(environment)
    if not isinstance(environment, package.SingleTurnEnv):
        return f"is a {kind.__name__}, not a SingleTurnEnv"
    if environment.max_turns != 1:
        return f"has max_turns {environment.max_turns}"
    changed = [
        name
        for name in _OWN
        if inspect.getattr_static(kind, name) is not inspect.getattr_static(package.SingleTurnEnv, name)
    ]
    if changed:
        return f"makes its rollouts by a {changed[0]} of {kind.__name__}"
    return "gives the model tools" if environment.tool_defs else ""


def _functions(package: ModuleType, rubric: Any, what: str) -> tuple[RewardFunction, ...]:
    """Return the reward functions of a rubric, in the order in which the package calls them."""
    found: list[RewardFunction] = []
    names: set[str] = set()
    for leaf in _leaves(package, rubric, what):
        for function, weight in zip(leaf.funcs, leaf.weights, strict=True):
            first = name = function.__name__ if inspect.isroutine(function) else type(function).__name__
            number = 1
            while name in names:
                number += 1
                name = f"{first}_{number}"
            names.add(name)
            found.append(RewardFunction(name, function, float(weight), leaf))
    if not any(one.weight for one in found):
        raise UsageError(f"{what} has no reward function with a weight", "Give its rubric a function that scores.")
    return tuple(found)


def _leaves(package: ModuleType, rubric: Any, what: str) -> Iterator[Any]:
    """Yield the rubrics that hold functions. Raise UsageError at one that scores in another way."""
    group = isinstance(rubric, package.RubricGroup)
    known = package.RubricGroup if group else package.Rubric
    kind = type(rubric)
    for name in ("score_rollout", "score_group"):
        if inspect.getattr_static(kind, name) is not inspect.getattr_static(known, name):
            raise UsageError(
                f"{what}: its rubric {kind.__name__} scores by a {name} that it defines",
                "Its functions alone are not its reward. Use an environment whose rubric weights functions.",
            )
    if group:
        for one in rubric.rubrics:
            yield from _leaves(package, one, what)
        return
    if rubric.has_group_rewards or rubric.has_advantages:
        functions = ", ".join(rubric._get_reward_func_names())
        raise UsageError(
            f"{what}: its rubric scores whole groups of completions ({functions})",
            "The verifier judges one completion at a time: use an environment whose functions score one completion.",
        )
    yield rubric
