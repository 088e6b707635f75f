"""Known benchmarks: where their rows are on the Hub, how a row becomes a prompt, and which verifier judges it.

A file with the same columns replaces the Hub (`--preset math500 --data rows.jsonl`). Prompts are ours unless said
otherwise; others' numbers are comparable only where theirs are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.recipe.sources import Data, HubSource, Source
from prerlkit.suggest import nearest

_BOXED = "\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."


@dataclass(frozen=True, slots=True)
class Preset:
    """A benchmark.

    Attributes:
        about: what it is, and how many problems its publishers say it has.
        source: its rows on the Hub.
        prompt: the user's turn in a chat.
        plain: the prompt of a model without a chat template.
        answer, answer_pattern: as in a recipe's data section.
        max_new_tokens: the default limit of a completion.
    """

    about: str
    source: HubSource
    prompt: str
    plain: str
    verifier: VerifierConfig
    answer: str | None = "answer"
    answer_pattern: str | None = None
    max_new_tokens: int = 4096

    def data(self, source: Source | None, *, chat: bool, changes: dict[str, Any]) -> Data:
        """The data section of this benchmark.

        Args:
            source: rows of the same columns from elsewhere.
            changes: keys that the person sets otherwise.
        """
        rows = source or self.source
        own: dict[str, Any] = {
            "train": rows.model_dump(),
            "eval": rows.model_dump(),
            "prompt": self.prompt if chat else self.plain,
            "answer": self.answer,
            "answer_pattern": self.answer_pattern,
            "chat": chat,
        }
        return Data.model_validate({**own, **changes})


def _hub(repository: str, split: str, config: str | None = None) -> HubSource:
    return HubSource(kind="hub", id=repository, config=config, split=split)


def _maths(about: str, source: HubSource, column: str, tokens: int = 4096) -> Preset:
    prompt = f"{{{column}}}{_BOXED}"
    plain = f"Problem: {prompt}\n\nSolution:"
    return Preset(about, source, prompt, plain, VerifierConfig(name="math"), max_new_tokens=tokens)


def _code(about: str, source: HubSource, prompt: str, plain: str) -> Preset:
    use = VerifierConfig(name="code", timeout=15.0)
    return Preset(about, source, prompt, plain, use, answer=None, max_new_tokens=1024)


PRESETS: dict[str, Preset] = {
    "math500": _maths(
        "500 problems of MATH's test set (arXiv 2305.20050)", _hub("HuggingFaceH4/MATH-500", "test"), "problem"
    ),
    "aime24": _maths("30 problems of AIME 2024", _hub("HuggingFaceH4/aime_2024", "train"), "problem", 8192),
    "aime25": _maths("30 problems of AIME 2025", _hub("math-ai/aime25", "test"), "problem", 8192),
    "amc23": _maths("40 problems of AMC 12 of 2023", _hub("math-ai/amc23", "test"), "question", 8192),
    "gsm8k": Preset(
        "1,319 grade-school problems, test set (arXiv 2110.14168)",
        _hub("openai/gsm8k", "test", "main"),
        f"{{question}}{_BOXED}",
        "Question: {question}\nAnswer:",
        VerifierConfig(name="math"),
        answer_pattern="####(.*)",
        max_new_tokens=1024,
    ),
    "humaneval": _code(
        "164 functions to complete (arXiv 2107.03374)",
        _hub("openai/openai_humaneval", "test"),
        "Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{prompt}\n```",
        "{prompt}",
    ),
    "mbpp": _code(
        "257 short programs, the sanitized test set (arXiv 2108.07732)",
        _hub("google-research-datasets/mbpp", "test", "sanitized"),
        "{prompt}\n\nAnswer with Python code in one block. It must pass these tests:\n\n```python\n{test_list}\n```",
        '"""\n{prompt}\n\n{test_list}\n"""\n',
    ),
}
"""By the name that the command line knows them by."""


def preset(name: str) -> Preset:
    """Raises UsageError, naming the nearest, where there is none of that name."""
    if name not in PRESETS:
        raise UsageError(f'there is no preset "{name}"{nearest(name, PRESETS)}', "`prerlkit eval --list` shows them.")
    return PRESETS[name]
