"""Difficulty: keep the train prompts whose pass rate in an evaluation's samples.jsonl lies in a range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prerlkit.data import files
from prerlkit.data.prompt_set import normal
from prerlkit.data.sources import find_file
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import PassRate


def in_range(rule: PassRate, texts: Iterable[str], folder: Path | None, notes: list[str]) -> list[int]:
    """Return the positions of the prompts whose measured pass rate fits `rule`, in order.

    Prompts are matched by their rendered text without white space, as an evaluation numbers its rows differently.

    Args:
        texts: of the train prompts.
        folder: the recipe's, for a relative path.
        notes: receives a line about the prompts that were left out.

    Raises:
        UsageError: the file is not from an evaluation, has none of the prompts, or none of them fits.
    """
    rates = pass_rates(find_file(rule.samples, folder))
    of_prompts = [rates.get(normal(text)) for text in texts]
    known = [rate for rate in of_prompts if rate is not None]
    kept = [i for i, rate in enumerate(of_prompts) if rate is not None and rule.at_least <= rate <= rule.at_most]
    bounds = f"{rule.at_least:g} to {rule.at_most:g}"
    if not known:
        raise UsageError(
            f"data.pass_rate: {rule.samples} has a judged answer to none of the {len(of_prompts):,} train prompts",
            "Evaluate the train prompts with this recipe's prompt, system and chat settings (docs/algorithms.md, "
            "Difficulty).",
        )
    if not kept:
        raise UsageError(
            f"data.pass_rate: none of the {len(known):,} train prompts in {rule.samples} has a pass rate of {bounds}",
            "Widen the range.",
        )
    missing = len(of_prompts) - len(known)
    notes.append(
        f"pass rate {bounds}: {len(kept):,} of {len(of_prompts):,} train prompts stay"
        + (f"; {missing:,} left out have no judged answer in {rule.samples}" if missing else "")
    )
    return kept


def pass_rates(path: Path) -> dict[str, float]:
    """Return the share of judged completions that passed, by the prompt's normalized text.

    Sampled completions count where a prompt has them, else its greedy answer. Unjudged ones are left out, and a prompt
    without a verdict is not in the result.

    Raises:
        UsageError: the file can't be read, or a line is not what `prerlkit eval` writes.
    """
    verdicts: dict[str, dict[str, list[bool]]] = {}
    for number, line in enumerate(files.stream(path), start=1):
        try:
            kind, text, passed = line["kind"], normal(line["prompt"]), _verdicts(line)
        except (KeyError, TypeError, AttributeError) as error:
            raise not_an_evaluation(path, number, error) from None
        verdicts.setdefault(text, {}).setdefault(kind, []).extend(passed)
    chosen = {text: kinds.get("sampled") or kinds.get("greedy") or [] for text, kinds in verdicts.items()}
    return {text: sum(passed) / len(passed) for text, passed in chosen.items() if passed}


def not_an_evaluation(path: Path, number: int, error: Exception) -> UsageError:
    """Return the error for a line of a file that `prerlkit eval` did not write."""
    return UsageError(
        f"{path}, line {number}: not a line of an evaluation ({type(error).__name__}: {error})",
        "Name the samples.jsonl that `prerlkit eval` writes into a target's folder.",
    )


def _verdicts(line: Mapping[str, Any]) -> list[bool]:
    return [bool(one["passed"]) for one in line["completions"] if one["passed"] is not None]
