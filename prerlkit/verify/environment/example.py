"""A small environment, which the verifier's gold cases use: one capital, asked for in an `<answer>` tag."""

from __future__ import annotations

import importlib
from typing import Any

from prerlkit.verify.environment.load import PACKAGE


def load_environment() -> Any:
    """Return a single-turn environment whose reward is 1 for the right answer, and 0.2 more for the right form."""
    package, datasets = importlib.import_module(PACKAGE), importlib.import_module("datasets")
    parser = package.XMLParser(["answer"])

    async def right(completion: Any, answer: str) -> float:
        return float(parser.parse_answer(completion) == answer)

    def known_country(info: dict[str, str]) -> float:
        return float(info["country"] == "France")

    rubric = package.Rubric(
        funcs=[right, parser.get_format_reward_func(), known_country], weights=[1.0, 0.2, 0.0], parser=parser
    )
    row = {"question": "What is the capital of France?", "answer": "Paris", "info": {"country": "France"}}
    return package.SingleTurnEnv(dataset=datasets.Dataset.from_list([row]), parser=parser, rubric=rubric)
