"""What policies are evaluated on: prompts from a recipe, a preset or the command line, and the verifiers that judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from prerlkit.audit.gold import ROWS, try_gold
from prerlkit.audit.samples import from_prompts
from prerlkit.data.prompts import build_eval, build_for
from prerlkit.errors import UsageError
from prerlkit.evaluation.harness.presets import Preset, preset
from prerlkit.recipe.load import load
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Recipe, VerifierConfig
from prerlkit.recipe.sources import Data, HeldOut, Source
from prerlkit.settings import mistake
from prerlkit.trust import of_verifiers, require
from prerlkit.types import Prompt
from prerlkit.verify import registry

LONGEST_PROMPT = 16_384
"""Tokens, where no recipe says otherwise."""


@dataclass(frozen=True, slots=True)
class Task:
    """Problems and their judges.

    Attributes:
        name: what the results call it.
        verifiers, reward, gates: as in a recipe.
        max_new_tokens: the default limit of a completion.
        seed: the default seed.
        recipe: where it came from, if it was one.
        folder: that recipe's, for relative paths and plugins next to it.
        preset, source, changes: otherwise; `changes` are keys of a recipe's data section.
        chat: None: as the model's tokenizer has a chat template or not.
    """

    name: str
    verifiers: tuple[VerifierConfig, ...]
    max_new_tokens: int = 1024
    seed: int = 0
    reward: Literal["weighted", "product"] = "weighted"
    gates: tuple[int, ...] = ()
    recipe: Recipe | None = None
    folder: Path | None = None
    preset: Preset | None = None
    source: Source | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    chat: bool | None = None

    @property
    def model(self) -> Model | None:
        """The recipe's."""
        return self.recipe.model if self.recipe else None

    def prompts(self, tokenizer: Any) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
        """Every problem as this tokenizer has it, and notes for a person. Gold answers are tried on the verifiers.

        Raises:
            UsageError, PrerlkitError: see `data.prompts.build`; or a gold answer fails its own verifier.
        """
        prompts, notes = self._prompts(tokenizer)
        rows = from_prompts((), prompts, ROWS)
        return prompts, (*notes, *try_gold(self.verifiers, rows, self.folder))

    def _prompts(self, tokenizer: Any) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
        if self.recipe:
            rollout, data = self.recipe.rollout, self.recipe.data
            if isinstance(data.eval, HeldOut):
                sets = build_for(self.recipe, tokenizer, self.folder)
                return tuple(sets.eval), sets.notes
            return build_eval(
                data,
                tokenizer=tokenizer,
                max_prompt_tokens=rollout.max_prompt_tokens,
                long_prompts=rollout.long_prompts,
                folder=self.folder,
            )
        chat = bool(tokenizer.chat_template) if self.chat is None else self.chat
        data = self._data(chat)
        prompts, notes = build_eval(
            data, tokenizer=tokenizer, max_prompt_tokens=LONGEST_PROMPT, long_prompts="error", folder=self.folder
        )
        said = "put by the model's chat template" if chat else "put as plain text, without a chat template"
        return prompts, (*notes, f"prompts are {said}")

    def _data(self, chat: bool) -> Data:
        try:
            if self.preset:
                return self.preset.data(self.source, chat=chat, changes=dict(self.changes))
            assert self.source is not None  # `of` sees to it
            rows = self.source.model_dump()
            return Data.model_validate({"train": rows, "eval": rows, "chat": chat, **self.changes})
        except ValidationError as error:
            raise UsageError("; ".join(mistake(item) for item in error.errors())) from error


def from_recipe(name: str, overrides: tuple[str, ...] = (), trust: bool = False) -> Task:
    """The eval set of a recipe, judged by its verifiers."""
    loaded = load(name, overrides)
    return of_recipe(loaded.recipe, loaded.folder, trust)


def of_recipe(recipe: Recipe, folder: Path | None, trust: bool = False) -> Task:
    """The same for a recipe that is loaded. `trust` allows the code of its verifiers; see `prerlkit.trust`."""
    require(of_verifiers(recipe.verifiers, folder), folder, trust)
    _check(recipe.verifiers, recipe.data.answer is not None, folder)
    return Task(
        recipe.name,
        recipe.verifiers,
        max_new_tokens=recipe.evaluation.max_new_tokens or recipe.rollout.max_new_tokens,
        seed=recipe.seed,
        reward=recipe.reward,
        gates=recipe.gates,
        recipe=recipe,
        folder=folder,
    )


def of_data(
    *,
    preset_name: str | None = None,
    data: str | Mapping[str, Any] | None = None,
    verifier: str | Mapping[str, Any] | None = None,
    chat: bool | None = None,
    changes: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Task:
    """A task without a recipe.

    Args:
        data: a file's path, or a source as in a recipe (`{kind: hub, id: openai/gsm8k, config: main, split: test}`).
        verifier: a name, or as in a recipe.
        changes: keys of a recipe's data section: prompt, answer, answer_pattern, system, ….
        trust: allow a file of `verifiers/` here that a bare name stands for. A path is allowed by naming it.

    Raises:
        UsageError: neither a preset nor data; data without a verifier; or one of them is malformed.
    """
    chosen = preset(preset_name) if preset_name else None
    source = _source(data) if data is not None else None
    use = _use(verifier) if verifier is not None else chosen.verifier if chosen else None
    if chosen is None and source is None:
        raise UsageError(
            "Nothing to evaluate on.",
            "Give --recipe, --preset (`prerlkit eval --list`), or --data with --verifier; a run has its own recipe.",
        )
    if use is None:
        raise UsageError("--data needs --verifier: what judges?", "`prerlkit verifiers list` shows what there is.")
    answers = (changes or {}).get("answer", chosen.answer if chosen else "answer")
    require([code for code in of_verifiers((use,), Path()) if code.name.isidentifier()], Path(), trust)
    _check((use,), answers is not None, Path())
    name = preset_name or (Path(data).stem if isinstance(data, str) else str((data or {}).get("name", "data")))
    limit = chosen.max_new_tokens if chosen else 1024
    return Task(
        name,
        (use,),
        max_new_tokens=limit,
        preset=chosen,
        source=source,
        changes=dict(changes or {}),
        chat=chat,
        folder=Path(),
    )


def _source(data: str | Mapping[str, Any]) -> Source:
    given: Any = {"kind": "file", "path": data} if isinstance(data, str) else dict(data)
    try:
        source: Source = TypeAdapter(Source).validate_python(given)
    except ValidationError as error:
        raise UsageError(
            f"--data: {_first(error)}",
            "A file's path, or as in a recipe: '{kind: hub, id: openai/gsm8k, config: main, split: test}'.",
        ) from error
    return source


def _use(verifier: str | Mapping[str, Any]) -> VerifierConfig:
    try:
        return VerifierConfig.model_validate({"name": verifier} if isinstance(verifier, str) else dict(verifier))
    except ValidationError as error:
        raise UsageError(
            f"--verifier: {_first(error)}", "A name, or '{name: math, settings: {extract: boxed}}'."
        ) from error


def _first(error: ValidationError) -> str:
    item = error.errors()[0]
    where = ".".join(str(part) for part in item["loc"])
    return f"{where + ': ' if where else ''}{mistake(item)}"


def _check(uses: tuple[VerifierConfig, ...], has_answers: bool, folder: Path | None) -> None:
    for use in uses:
        if registry.make(use.name, use.settings, folder).needs_answer and not has_answers:
            raise UsageError(f'verifier "{use.name}" needs a gold answer, but no column holds one', "Give --answer.")
