"""A dry run, without weights: start token, prompts, gold answers, and what could not be checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prerlkit.audit.gold import ROWS, try_gold
from prerlkit.audit.samples import AuditRow, from_data, from_prompts
from prerlkit.data.prompts import build_for
from prerlkit.data.sources import iter_rows
from prerlkit.errors import PrerlkitError
from prerlkit.policy import source
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.load import LoadedRecipe
from prerlkit.recipe.plugins import model_near
from prerlkit.train.prepare import demonstrations_of
from prerlkit.trust import REMOTE_CODE, ForeignCode
from prerlkit.types import Prompt

NOT_CHECKED = "not checked"
EVAL_PROMPTS = "eval prompts"
MOST_LINES = 12
"""Of a text that is shown."""
MOST_CHARACTERS = 1000


def check_data(loaded: LoadedRecipe, untrusted: Sequence[ForeignCode] = ()) -> Iterator[tuple[str, str]]:
    """Yield (label, finding) about start token and prompts where tokenizer and rows are within reach.

    The label of what is out of reach is NOT_CHECKED. That of the number of eval prompts is EVAL_PROMPTS. The finding of
    `prompt` is the first train prompt: it has several lines, and all characters that the data has.

    Args:
        untrusted: code that must not run: of the verifiers, on which gold answers are tried, and of the model.

    Raises:
        UsageError: for what is wrong independently of the network.
    """
    recipe = loaded.recipe
    tries = not any(code.key.startswith("verifiers[") for code in untrusted)
    own_code = any(code.key == REMOTE_CODE for code in untrusted)  # a tokenizer may be part of it
    here = None if own_code else source.cached_config(model_near(recipe.model, loaded.folder))
    try:
        if here is None:
            rows = sum(1 for _ in iter_rows(recipe.data.train, folder=loaded.folder))
            yield "data", f"{rows:,} train rows, before filters"
            if tries:
                yield from _gold(loaded, from_data(recipe.data, loaded.folder, ROWS))
            what = "start token, a prompt as the model sees it, prompt lengths and train/eval overlap"
            why = "could run the model's own code" if own_code else "is not on this machine"
            yield NOT_CHECKED, f"{what}: the model's tokenizer {why}"
            return
        tokens = read_tokens(str(here), recipe.model)
        yield "start token", f"{tokens.start} precedes y in P(y); {len(tokens.end_ids)} end tokens"
        prompts = build_for(recipe, tokens.tokenizer, loaded.folder)
        yield EVAL_PROMPTS, str(len(prompts.eval))
        for note in (*prompts.notes, *demonstrations_of(recipe, prompts, tokens, loaded.folder)[1]):
            yield "data", note
        if tries:
            yield from _gold(loaded, from_prompts(prompts.train, prompts.eval, ROWS))
        yield from _shown(prompts.train[0], tokens.tokenizer)
    except PrerlkitError as error:
        if error.exit_code == 2:
            raise
        missing = "" if here else ", and with them the start token: the model's tokenizer is not on this machine"
        yield NOT_CHECKED, f"prompts{missing}. {error.message}"


def _gold(loaded: LoadedRecipe, rows: list[AuditRow]) -> Iterator[tuple[str, str]]:
    for note in try_gold(loaded.recipe.verifiers, rows, loaded.folder):
        yield "data", note


def _shown(prompt: Prompt, tokenizer: Any) -> Iterator[tuple[str, str]]:
    """Yield the prompt as the model sees it, special tokens included, and its gold answer."""
    text = str(tokenizer.decode(prompt.token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    yield "prompt", f"{prompt.id}, {len(prompt.token_ids):,} tokens, as the model sees it:\n{shortened(text)}"
    yield "gold answer", "none: data.answer is null" if prompt.answer is None else repr(shortened(prompt.answer))


def shortened(text: str) -> str:
    """Return the text with at most MOST_LINES lines and MOST_CHARACTERS characters, and `…` for its middle.

    The end stays: it says whether the model begins with a thought.
    """
    lines = "".join(_ends(text, MOST_CHARACTERS)).split("\n")
    return "\n".join(_ends(lines, MOST_LINES))


def _ends(items: Sequence[str], most: int) -> list[str]:
    """Return two thirds of the `most` items from the beginning and the others from the end, with `…` between them."""
    if len(items) <= most:
        return list(items)
    last = (most - 1) // 3
    return [*items[: most - 1 - last], "…", *items[-last:]]
