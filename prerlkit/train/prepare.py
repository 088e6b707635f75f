"""What is prepared before weights are loaded: model files, tokenizer, start token, prompts, verifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerlkit.audit.gold import ROWS, try_gold
from prerlkit.audit.samples import from_prompts
from prerlkit.data.demonstrations import build_demonstrations
from prerlkit.data.prompts import PromptSets, build_for
from prerlkit.engines.registry import engine_of
from prerlkit.policy import source
from prerlkit.policy.base import pick_device
from prerlkit.policy.context import context_note, positions, read_config
from prerlkit.policy.source import ResolvedModel
from prerlkit.policy.tokens import Tokens, answer_end, read_tokens, turn_end_note
from prerlkit.policy.unsloth import check_usable
from prerlkit.recipe.plugins import bind
from prerlkit.recipe.schema import Recipe
from prerlkit.train.validate import check_settings, warnings
from prerlkit.types import Group


@dataclass(frozen=True, slots=True)
class Prepared:
    """The parts of a run that exist before weights are loaded.

    Attributes:
        demonstrations: of each supervised stage, by its name.
        notes: lines for the user, printed once.
    """

    model: ResolvedModel
    tokens: Tokens
    prompts: PromptSets
    demonstrations: Mapping[str, tuple[Group, ...]]
    notes: tuple[str, ...]

    def fingerprint(self) -> tuple[object, ...]:
        """Return what all processes of a run must share: the model's commit, special tokens, and all data."""
        digests = self.prompts.train.digest(), self.prompts.eval.digest()
        return self.model.revision, self.tokens.start.id, self.tokens.end_ids, *digests, repr(self.demonstrated())

    def demonstrated(self) -> dict[str, str]:
        """Return the SHA-256 of each supervised stage's demonstrations, in order, by the stage's name."""
        digests = {}
        for name, groups in self.demonstrations.items():
            tokens = [(group.prompt.token_ids, group.completions[0].token_ids) for group in groups]
            digests[name] = hashlib.sha256(repr(tokens).encode()).hexdigest()
        return digests

    def token_lists(self) -> Iterator[tuple[int, ...]]:
        """Yield the tokens of every text that the model will read."""
        yield from (prompt.token_ids for prompts in (self.prompts.train, self.prompts.eval) for prompt in prompts)
        for group in (group for groups in self.demonstrations.values() for group in groups):
            yield group.prompt.token_ids
            yield group.completions[0].token_ids


def prepare(recipe: Recipe, folder: Path | None, report: source.Report = None) -> Prepared:
    """Prepare all that needs no weights: prompts, tokenizer, tokens. Missing files of the model are downloaded.

    Args:
        folder: the recipe's folder, for relative paths and plugins.
        report: called with the phases of a download.
    """
    check_settings(recipe, folder)
    if recipe.model.backend == "unsloth":
        check_usable(pick_device(recipe.model.device))
    engine_of(bind(recipe, folder)).check_installed(recipe)  # not by a dry run: that may be made on another machine
    model = source.resolve(recipe.model, report=report)
    tokens = read_tokens(model.path, recipe.model)
    prompts = build_for(recipe, tokens.tokenizer, folder)
    demonstrations, demonstration_notes = demonstrations_of(recipe, prompts, tokens, folder)
    tried = try_gold(recipe.verifiers, from_prompts(prompts.train, prompts.eval, ROWS), folder)
    notes = (
        f"model {model.origin}",
        f"start token of P(y): {tokens.start}",
        *prompts.notes,
        *demonstration_notes,
        *tried,
        *warnings(recipe),
        *_short_context(recipe, prompts, read_config(model.path)),
        *filter(None, [turn_end_note(tokens, recipe.data.template_options)] if recipe.data.chat else []),
    )
    return Prepared(model, tokens, prompts, demonstrations, notes)


def demonstrations_of(
    recipe: Recipe, prompts: PromptSets, tokens: Tokens, folder: Path | None
) -> tuple[dict[str, tuple[Group, ...]], tuple[str, ...]]:
    """Return the demonstrations of each supervised stage, and notes; see `build_demonstrations`."""
    end_id = answer_end(tokens, chat=recipe.data.chat, options=recipe.data.template_options)
    return build_demonstrations(recipe, prompts, tokenizer=tokens.tokenizer, end_id=end_id, folder=folder)


def _short_context(recipe: Recipe, prompts: PromptSets, config: Mapping[str, Any]) -> Sequence[str]:
    """Return a line for each part whose completions could grow past the positions of the model."""
    limit = positions(config)
    if limit is None:
        return []
    new = max(stage.rollout.max_new_tokens for stage in recipe.stages)
    evaluated = recipe.evaluation.max_new_tokens or recipe.rollout.max_new_tokens
    parts = (("data.train, rollout", prompts.train, new), ("data.eval, evaluation", prompts.eval, evaluated))
    lines = []
    for where, own, most in parts:
        longer = own.lengths_above(max(0, limit - most))
        if note := context_note(config, max(longer.values(), default=0), most):
            lines.append(f"{where}: {note}. Set a smaller max_new_tokens or max_prompt_tokens")
    return lines
