"""Tokenizer, start token of P(y), and end tokens: read before any weight is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerlkit.chat import render_one
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.model import Model


@dataclass(frozen=True, slots=True)
class StartToken:
    """The token that precedes y in P(y). The paper's code has Qwen's `<|im_start|>` hard-coded."""

    id: int
    text: str
    source: str
    """Where it came from: `recipe`, `bos` or `chat template`."""

    def __str__(self) -> str:
        return f"{self.text!r} (id {self.id}, {self.source})"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A model's tokenizer and its special tokens.

    Attributes:
        tokenizer: of transformers.
        end_ids: tokens that end a completion, sorted.
        start_token: None where the tokenizer has none: such a policy answers, and can't be trained.
    """

    tokenizer: Any
    end_ids: tuple[int, ...]
    start_token: StartToken | None

    @property
    def start(self) -> StartToken:
        """The token before y in P(y). Raises UsageError where there is none."""
        if self.start_token is None:
            raise UsageError("This tokenizer has no start token of P(y).", "Name one: model.start_token in the recipe.")
        return self.start_token


def read_tokens(path: str, model: Model) -> Tokens:
    """Return the tokens of the model in the folder `path`.

    Raises:
        PrerlkitError: no usable tokenizer.
        UsageError: no end token, or `model.start_token` or one of `model.end_tokens` is not one token here.
    """
    tokenizer = load_tokenizer(path, trust_remote_code=model.trust_remote_code)
    start = resolve_start_token(model.start_token, tokenizer)
    return Tokens(tokenizer, end_token_ids(path, tokenizer, model.end_tokens), start)


def load_tokenizer(path: str, *, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer in the folder `path`. Raises PrerlkitError where there is none that works."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError, json.JSONDecodeError) as error:
        raise PrerlkitError(
            f"No usable tokenizer in {path}: {str(error).splitlines()[0]}",
            "The folder needs tokenizer.json (or the files of a slow tokenizer) and tokenizer_config.json.",
        ) from error


def resolve_start_token(wanted: str, tokenizer: Any) -> StartToken:
    """Resolve `model.start_token` to exactly one known token.

    auto: the tokenizer's BOS; without one (Qwen), the token that opens a turn in its chat template. Any other word must
    be one token of the vocabulary, special or not.

    Raises:
        UsageError: it resolves to no token, or to several.
    """
    if wanted == "auto":
        if tokenizer.bos_token_id is not None:
            return StartToken(tokenizer.bos_token_id, tokenizer.bos_token, "bos")
        return _turn_opener(tokenizer)
    return StartToken(_one_token("start_token", wanted, tokenizer, "auto, or "), wanted, "recipe")


def _one_token(key: str, wanted: str, tokenizer: Any, other: str) -> int:
    ids = tokenizer.encode(wanted, add_special_tokens=False)
    if len(ids) == 1 and (ids[0] != tokenizer.unk_token_id or wanted == tokenizer.unk_token):
        return int(ids[0])
    pieces = tokenizer.convert_ids_to_tokens(ids)
    found = f"it is {len(ids)} tokens here: {pieces}" if len(ids) > 1 else "this tokenizer does not know it"
    special = ", ".join(sorted(str(t) for t in tokenizer.all_special_tokens)) or "none"
    raise UsageError(
        f"model.{key} {wanted!r} is not one token: {found}.",
        f"Use {other}one token of this tokenizer. Its special tokens: {special}.",
    )


def _turn_opener(tokenizer: Any) -> StartToken:
    if not tokenizer.chat_template:
        raise UsageError(
            "model.start_token is auto, but this tokenizer has neither a BOS token nor a chat template.",
            "Name the token that a text starts with, for example start_token: <|endoftext|>.",
        )
    text = render_one(tokenizer, [{"role": "user", "content": "x"}])
    ids = tokenizer.encode(text, add_special_tokens=False)
    if not ids:
        raise UsageError("The chat template renders to nothing.", "Name model.start_token in the recipe.")
    return StartToken(ids[0], tokenizer.convert_ids_to_tokens(ids[0]), "chat template")


def end_token_ids(path: str, tokenizer: Any, named: Sequence[str] = ()) -> tuple[int, ...]:
    """Return the tokens that end a completion: the tokenizer's EOS, those of generation_config.json, and those `named`.

    Args:
        named: `model.end_tokens`.

    Raises:
        UsageError: there is none; a `named` one is not a single token of this tokenizer; or generation_config.json
            can't be read.
    """
    ids = set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}
    config = Path(path) / "generation_config.json"
    if config.is_file():
        ids.update(_configured_ends(config))
    ids.update(_one_token("end_tokens", text, tokenizer, "") for text in named)
    if not ids:
        raise UsageError(
            f"The tokenizer in {path} has no end token, and generation_config.json names none.",
            "Completions would never end. Name the token in the recipe: model.end_tokens.",
        )
    return tuple(sorted(ids))


def _configured_ends(config: Path) -> list[int]:
    """Return `eos_token_id` of a generation_config.json; nothing where the file is empty or names none."""
    hint = "Mend the file, or delete it."
    try:
        text = config.read_text(encoding="utf-8").strip()
        found = json.loads(text) if text else {}
    except OSError as error:
        raise UsageError(f"{config} can't be read: {error.strerror}", hint) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{config} is not UTF-8: {error}", hint) from error
    except ValueError as error:
        raise UsageError(f"{config} is not valid JSON: {error}", hint) from error
    if not isinstance(found, dict):
        raise UsageError(f"{config} holds no JSON object", hint)
    listed = found.get("eos_token_id")
    ids = listed if isinstance(listed, list) else [] if listed is None else [listed]
    if not all(type(number) is int for number in ids):
        raise UsageError(f"{config}: eos_token_id is {listed!r}, neither a token's id nor a list of them", hint)
    return ids


def turn_end_note(tokens: Tokens, options: Mapping[str, Any]) -> str:
    """Return a line for a person where the chat template ends a turn with a token that is no end token, else "".

    A model that was taught by such a template writes that token at the end of an answer and continues to the limit.

    Args:
        options: `data.template_options`.
    """
    ids = _after_an_answer(tokens, options)
    if not ids or set(ids) & set(tokens.end_ids):
        return ""
    ends = ", ".join(repr(tokens.tokenizer.decode([number])) for number in tokens.end_ids)
    last = tokens.tokenizer.decode(ids[:1])
    return (
        f"the chat template ends a turn with {last!r}, which is no end token here (those are {ends}): answers may "
        f"run to the limit. --set 'model.end_tokens=[\"{last}\"]' makes it one"
    )


def answer_end(tokens: Tokens, *, chat: bool, options: Mapping[str, Any]) -> int:
    """Return the token that ends a demonstrated answer.

    With a chat template it is the end token that the template writes after an answer. Elsewhere, and where the template
    writes none, it is the tokenizer's EOS; without one, the first end token.

    Args:
        chat: `data.chat`.
        options: `data.template_options`.
    """
    written = [number for number in _after_an_answer(tokens, options) if number in tokens.end_ids] if chat else []
    own = tokens.tokenizer.eos_token_id
    return int(next(iter((*written, *([] if own is None else [own]), *tokens.end_ids))))


def _after_an_answer(tokens: Tokens, options: Mapping[str, Any]) -> list[int]:
    """Return the tokens that the chat template writes after an answer; none where it writes nothing, or fails."""
    answer = "The answer is 42."
    turns = [{"role": "user", "content": "What is 6 * 7?"}, {"role": "assistant", "content": answer}]
    try:
        text = render_one(tokens.tokenizer, turns, **options)
    except UsageError:
        return []  # the prompts' own rendering reports what is wrong with it
    tail = text.rpartition(answer)[2].strip()
    return list(tokens.tokenizer.encode(tail, add_special_tokens=False)) if answer in text and tail else []
