"""What a person asks of an evaluation: one request for the command line, for Python and for a run's own evaluations.

A field's description is the help text of its option (`cli/eval_options.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from prerlkit.errors import UsageError
from prerlkit.rollout.protocol import Sampling
from prerlkit.settings import Bool, Int, NonNegativeInt, PositiveFloat, PositiveInt, Settings, mistake
from prerlkit.suggest import nearest

if TYPE_CHECKING:
    from prerlkit.recipe.schema import Recipe

Kind = Literal["greedy", "sampled"]

_COLUMNS = ("prompt", "answer", "answer_pattern", "system")
_MODEL = ("dtype", "quantization", "device")


class Draws(Settings):
    """How problems are answered, and which estimates are made of the answers."""

    model_config = ConfigDict(defer_build=True)  # the command line reads the fields alone

    greedy: Bool = True
    """One greedy answer each."""
    samples: NonNegativeInt = 0
    """Samples for each problem, in addition to the greedy one."""
    pass_at: tuple[PositiveInt, ...] = ()
    """pass@k; default: 1, 2, 4, … samples."""
    majority_at: tuple[PositiveInt, ...] = ()
    """maj@k; default: samples."""
    temperature: PositiveFloat = 1.0
    """Of samples."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """1: off."""
    top_k: NonNegativeInt = 0
    """0: off."""
    max_new_tokens: PositiveInt | None = None
    """Default: the recipe's or preset's."""
    problems: NonNegativeInt = 0
    """Only the first so many. 0: all."""
    seed: Int | None = None
    """Default: the recipe's, or 0."""
    max_sequences: PositiveInt = 64
    """Decoded at once: speed for memory."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if too_big := [k for k in (*self.pass_at, *self.majority_at) if k > self.samples]:
            raise ValueError(f"k = {too_big[0]} is more than samples ({self.samples})")
        return self


class EvalSettings(Draws):
    """The settings of one evaluation, all of them known; the same for every target."""

    max_new_tokens: PositiveInt = 1024
    """Completions are cut here."""
    seed: Int = 0
    """A completion's tokens are a function of it, the problem and the sample's number."""

    @classmethod
    def of_run(cls, recipe: Recipe) -> EvalSettings:
        """Return the settings of a run's own evaluations."""
        own = recipe.evaluation
        return cls(
            greedy=own.greedy,
            samples=own.samples,
            pass_at=own.pass_at if own.samples else (),
            temperature=own.temperature,
            max_new_tokens=own.max_new_tokens or recipe.rollout.max_new_tokens,
            problems=own.prompts,
            seed=recipe.seed,
        )

    def passes(self) -> Iterator[tuple[Kind, Sampling]]:
        """Yield how greedy answers and samples are drawn. The seed is fixed, so that differences are the policy's."""
        from prerlkit.seeds import derive  # brings numpy: the command line reads this module for its help

        seed = derive(self.seed, "evaluation")
        if self.greedy:
            yield "greedy", Sampling(1, self.max_new_tokens, None, seed)
        if self.samples:
            own = Sampling(self.samples, self.max_new_tokens, self.temperature, seed, self.top_p, self.top_k)
            yield "sampled", own

    @property
    def pass_ks(self) -> tuple[int, ...]:
        if self.pass_at or not self.samples:
            return tuple(sorted(set(self.pass_at)))
        powers = [2**i for i in range(self.samples.bit_length())]
        return tuple(sorted({*powers, self.samples}))

    @property
    def majority_ks(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.majority_at))) or ((self.samples,) if self.samples > 1 else ())


class EvalRequest(Draws):
    """What is asked, how it is answered, and how the models are loaded. Without a task a run brings its own recipe."""

    recipe: str | None = None
    """Its eval set and verifiers."""
    overrides: tuple[str, ...] = ()
    """Override a key of it."""
    preset: str | None = None
    """A known benchmark; see --list."""
    data: str | dict[str, Any] | None = None
    """A file, or a source as in recipes: '{kind: hub, id: …, split: test}'. With --preset: for the Hub."""
    verifier: str | dict[str, Any] | None = None
    """math, or '{name: math, settings: {…}}'."""
    prompt: str | None = None
    """Text with {column}s. Default: {question}."""
    answer: str | None = None
    """The gold answer; default: answer."""
    answer_pattern: str | None = None
    """Regular expression; group 1 is the answer."""
    system: str | None = None
    """System prompt."""
    chat: bool | None = None
    """Use the chat template. Default: if there is one."""
    columns: dict[str, Any] = Field(default_factory=dict)
    """More keys of a recipe's data section."""
    base: str | None = None
    """Where an adapter's base lies now."""
    trust: Bool = False
    """Allow the code that the recipe or run brings; asked once for each folder and its files."""
    with_base: Bool = False
    """First evaluate the first target's base."""
    checkpoint: Bool = False
    """Take unfinished runs as last saved."""
    dtype: str | None = None
    """auto, bfloat16, float16 or float32."""
    quantization: str | None = None
    """none or nf4."""
    device: str | None = None
    """auto, cpu or cuda."""
    model: dict[str, Any] = Field(default_factory=dict)
    """More keys of a recipe's model section."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.greedy and not self.samples:
            raise ValueError("neither greedy answers nor samples: nothing would be done")
        return self

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> EvalRequest:
        """Return the request with these fields; None for what is not asked.

        Raises:
            UsageError: an unknown field, or a wrong value.
        """
        for key in given:
            if key not in cls.model_fields:
                raise UsageError(f'there is no setting "{key}"{nearest(key, cls.model_fields)}')
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
        try:
            return cls.model_validate({key: value for key, value in plain.items() if value is not None})
        except ValidationError as error:
            raise wrong(error) from error

    @property
    def data_keys(self) -> dict[str, Any]:
        """Keys of a recipe's data section."""
        return {**self.columns, **self._given(*_COLUMNS)}

    @property
    def model_keys(self) -> dict[str, Any]:
        """Keys of a recipe's model section, for every target."""
        return {**self.model, **self._given(*_MODEL)}

    @property
    def task_fields(self) -> dict[str, Any]:
        """The fields that say what is asked, as far as they are given and no recipe says it."""
        given = self._given("preset", "data", "verifier", "chat", *_COLUMNS)
        return {**given, "columns": self.columns} if self.columns else given

    def settings(self, max_new_tokens: int, seed: int) -> EvalSettings:
        """Return the settings, with the task's where the request names none."""
        own = {name: getattr(self, name) for name in Draws.model_fields}
        task = {"max_new_tokens": max_new_tokens, "seed": seed}
        filled = {name: task[name] if value is None else value for name, value in own.items()}
        return EvalSettings.model_validate(filled)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def wrong(error: ValidationError, *before: str) -> UsageError:
    """Return the first mistake as an error for a person.

    Args:
        before: keys that lead to what was validated.
    """
    item = error.errors()[0]
    where = ".".join(map(str, (*before, *item["loc"])))
    return UsageError(
        f"{where + ': ' if where else ''}{mistake(item)}",
        "`prerlkit eval --help` says what each option takes.",
    )
