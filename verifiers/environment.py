"""Scores with the reward functions of a single-turn environment of Prime's PyPI package `verifiers`.

Needs that package, `pip install 'prerlkit[environments]'`, and the environment's own. The reward is the functions' sum
by the rubric's weights, scaled to [0, 1]. An exception of a function with a weight, or a reward outside `scale`, leaves
the sample unjudged. Environments with several turns or tools, groups of environments, and functions that score a whole
group of completions are refused before the first step.

The environment's module runs with your rights: the first command that would run it asks for `--trust`. Each worker
loads it, data set included, within 60 seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from prerlkit.settings import Float, Fraction
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.environment.load import LoadedEnvironment, load, require_package
from prerlkit.verify.environment.reward import bounds, info_of, reward


class EnvironmentSettings(Settings):
    """The environment, its arguments, and the scale of its reward."""

    id: Annotated[str, Field(pattern=r"^(.+\.py|([\w.-]+/)?[A-Za-z_][\w.-]*)$")]
    """The environment's id, `my-env` or `owner/my-env`: the installed module `my_env`. Or `path/to/file.py`, from the
    working directory."""
    args: dict[str, Any] = Field(default_factory=dict)
    """The arguments of its `load_environment`."""
    pass_at: Fraction = 1.0
    """From which score on it passes, after scaling to [0, 1]."""
    scale: tuple[Float, Float] | None = None
    """The lowest and the highest reward. null: those of functions between 0 and 1, from the sum of the negative
    weights to the sum of the positive ones."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale: the lowest reward {self.scale[0]:g} is not below the highest {self.scale[1]:g}")
        return self


class Environment(Verifier):
    """Scores a completion with an environment's reward functions; passes from `pass_at` on."""

    name = "environment"
    Settings = EnvironmentSettings
    settings: EnvironmentSettings
    needs_answer = False  # the environment's functions say what they read

    def __init__(self, settings: EnvironmentSettings) -> None:
        super().__init__(settings)
        require_package()
        self._loaded: LoadedEnvironment | None = None
        self._loop = asyncio.Runner()  # one loop: a client that an environment opens stays usable

    def judge(self, sample: VerifierInput) -> Verdict:
        if self._loaded is None:
            with self.off_the_clock():
                self.check_service()
        assert self._loaded is not None
        with self._variables():
            found = self._loop.run(reward(self._loaded, sample))
        details = {"parts": dict(found.parts)}
        if found.value is None:
            return Verdict.unjudged(found.failure, **details)
        low, high = self.settings.scale or bounds(self._loaded.functions)
        if not low <= found.value <= high:
            return Verdict.unjudged(
                f"the reward {found.value:g} is not between {low:g} and {high:g}: set `scale`", **details
            )
        score = (found.value - low) / (high - low)
        return Verdict(score, score >= self.settings.pass_at, "", {**details, "reward": found.value})

    def check_service(self) -> None:
        """Load the environment; refuse one that can't judge a single completion."""
        with self._variables():
            self._loaded = load(self.settings.id, self.settings.args)

    @contextmanager
    def _variables(self) -> Iterator[None]:
        """Put the recipe's variables into `os.environ`, where an environment's clients look for them."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for key in self.environment:
                if key in before:
                    os.environ[key] = before[key]
                else:
                    os.environ.pop(key, None)

    def row_error(self, row: Mapping[str, Any]) -> str:
        try:
            info = info_of(row)
        except ValueError:
            return "the column info is text that is no JSON"
        return "its column info gives the model tools" if isinstance(info, dict) and info.get("tool_defs") else ""

    _EXAMPLE: Mapping[str, Any] = {"id": "prerlkit.verify.environment.example"}
    _NO_JSON: Mapping[str, Any] = {"info": "{"}
    gold = (
        GoldCase("<answer>Paris</answer>", "pass", "Paris", settings=_EXAMPLE),
        GoldCase("<answer>Rome</answer>", "fail", "Paris", settings=_EXAMPLE),
        GoldCase("Paris", "fail", "Paris", settings=_EXAMPLE),
        GoldCase("<answer>Paris</answer>", "unjudged", "Paris", _NO_JSON, settings=_EXAMPLE),
        GoldCase("<answer>Paris</answer>", "unjudged", "Paris", settings={**_EXAMPLE, "scale": (3.0, 4.0)}),
    )
