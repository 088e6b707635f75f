"""Has a reasoning-gym task score its own rows: the columns question, answer, task and metadata that its source gives.

Needs the `reasoning-gym` package: `pip install 'prerlkit[reasoning-gym]'`. Text in a `<think>` block does not count.

Some tasks `eval` the answer, by themselves or through sympy. Here they evaluate arithmetic, lists and common functions
only: an answer with another name, attribute or definition fails. So does a number of more than 5,000 digits, and an
answer that takes more than 0.25 s of processor time.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

from prerlkit.cpu_limit import TooExpensive, cpu_limit
from prerlkit.errors import PrerlkitError
from prerlkit.settings import Bool
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.arithmetic_size import is_small
from prerlkit.verify.mathematics import extract
from prerlkit.verify.mathematics.expressions import arithmetic_only, evaluating
from prerlkit.verify.mathematics.size import too_large
from prerlkit.verify.tags import last_tagged
from prerlkit.verify.thinking import after_thinking

_ARITHMETIC = re.compile(r"[\s()+\-*/^.!]*\d[\d\s()+\-*/^.!]*")
_LONGEST = 1_000  # characters of numbers and signs: more are no answer to any task, and take long to read


class ReasoningGymSettings(Settings):
    """Where the answer is looked for and how its score counts."""

    extract: Literal["auto", "tag", "boxed", "whole"] = "auto"
    r"""auto: the last `<answer>` tag (reasoning-gym's own way), else the last `\boxed{}`, else the whole completion.
    The others: only that."""
    partial: Bool = True
    """Use the task's score; many tasks give a little for a near or a well-formed answer. false: 1 or 0."""


class ReasoningGym(Verifier):
    """Scores an answer as the row's task does; passes where that score is 1."""

    name = "reasoning_gym"
    Settings = ReasoningGymSettings
    settings: ReasoningGymSettings
    needs_answer = False  # the row's own column `answer` counts

    def __init__(self, settings: ReasoningGymSettings) -> None:
        super().__init__(settings)
        if importlib.util.find_spec("reasoning_gym") is None:
            raise PrerlkitError(
                'The verifier "reasoning_gym" needs the package reasoning-gym, which is not installed.',
                "Run: pip install 'prerlkit[reasoning-gym]'",
            )
        self._scorers: dict[str, Callable[..., float]] = {}
        self._evaluating: list[ModuleType] = []

    def judge(self, sample: VerifierInput) -> Verdict:
        missing = [column for column in ("task", "answer", "metadata") if column not in sample.row]
        if missing:
            return Verdict.unjudged(f"the row has no column {' and no '.join(missing)}")
        text = after_thinking(sample.completion, sample.prompt)
        answer = None if text is None else self._answer(text)
        if answer is None:
            return Verdict.of(False, "the thought is not finished" if text is None else "no answer found")
        bare = _ARITHMETIC.fullmatch(answer)
        if (bare and (len(answer) > _LONGEST or too_large(answer))) or not is_small(answer):
            return Verdict.of(False, "the answer is too large to be worked out", answer=answer[:500])
        scorer = self._scorer(str(sample.row["task"]))
        try:
            score = self._score(scorer, answer, sample.row)
        except (Exception, TooExpensive) as error:  # noqa: BLE001 - a task's scorer may raise anything
            if not self._takes_its_gold(scorer, sample.row):
                return Verdict.unjudged(f"the task's scorer raised {type(error).__name__}: {error}")
            return Verdict.of(False, f"the answer can't be scored: {type(error).__name__}", answer=answer[:500])
        passed = score >= 1.0
        return Verdict(score if self.settings.partial else float(passed), passed, "", {"answer": answer[:500]})

    def _score(self, scorer: Callable[..., float], answer: str, row: Mapping[str, Any]) -> float:
        """Return the task's score of an answer.

        Raises:
            Exception: the scorer's own, or its score is outside [0, 1].
            TooExpensive: the answer takes too long to be scored.
        """
        with cpu_limit(), arithmetic_only(self._evaluating):
            score = float(scorer(answer, dict(row)))
        if not 0 <= score <= 1:  # NaN included
            raise ValueError(f"its score is {score!r}, which is outside [0, 1]")
        return score

    def _takes_its_gold(self, scorer: Callable[..., float], row: Mapping[str, Any]) -> bool:
        """Return whether the scorer passes the row's answer: then an answer that it can't score is at fault."""
        try:
            return isinstance(row["answer"], str) and self._score(scorer, row["answer"], row) >= 1.0
        except (Exception, TooExpensive):  # noqa: BLE001 - as above
            return False

    def _answer(self, text: str) -> str | None:
        ways: dict[str, Callable[[], str | None]] = {
            "tag": lambda: None if (tagged := last_tagged(text, "answer")) is None else tagged.strip(),
            "boxed": lambda: extract.boxed(text),
            "whole": lambda: text.strip(),
        }
        if self.settings.extract != "auto":
            return ways[self.settings.extract]()
        return next((found for way in ways.values() if (found := way()) is not None), None)

    def _scorer(self, task: str) -> Callable[..., float]:
        if task not in self._scorers:
            with self.off_the_clock():
                from reasoning_gym.factory import get_score_answer_fn

                scorer = get_score_answer_fn(task)
                self._evaluating = evaluating("reasoning_gym")
                self._scorers[task] = scorer
        return self._scorers[task]

    def gold_completion(self, answer: str, row: Mapping[str, Any]) -> str | None:
        gold = answer or row.get("answer")  # the row's, where data.answer is null
        if not isinstance(gold, str):
            return None  # some tasks have no reference answer, only a scorer
        return (
            rf"\boxed{{{gold}}}"
            if self.settings.extract == "boxed"
            else (gold if self.settings.extract == "whole" else f"<answer>{gold}</answer>")
        )

    _SUM: Mapping[str, Any] = {"task": "chain_sum", "question": "4 + 3 =", "answer": "7", "metadata": {}}
    gold = (
        GoldCase("<answer>7</answer>", "pass", row=_SUM),
        GoldCase(r"So \boxed{7}.", "pass", row=_SUM),
        GoldCase("7", "pass", row=_SUM),
        GoldCase("<answer>8</answer>", "fail", row=_SUM),
        GoldCase("I think it is 7", "fail", row=_SUM, settings={"partial": False}),
        GoldCase("7", "fail", row=_SUM, settings={"extract": "tag"}),
        GoldCase("<answer>9**9**9**9</answer>", "fail", row=_SUM),
        GoldCase("<answer>9**9**9**9 % 8</answer>", "fail", row=_SUM),
        GoldCase("<think><answer>7</answer></think>", "fail", row=_SUM),
        GoldCase("<think>8?</think><answer>7</answer>", "pass", row=_SUM),
        GoldCase("7", "unjudged", row={"answer": "7"}),
    )
