"""The figures of one evaluation: what a run writes down, reports, and picks its best checkpoint by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prerlkit.evaluation.estimates import Estimate
from prerlkit.metrics.catalogue import of_evaluation
from prerlkit.page.table import html_table, merged_rows


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One evaluation.

    Attributes:
        name: when it was: `before`, `after <stage>`, or `step <n>`.
        step: global steps done by then.
        accuracy: of the greedy answers, over judged prompts (Wilson interval); None when not asked for.
        average: avg@k, the mean pass rate of the samples (bootstrap over prompts).
        pass_at: pass@k for each k asked for (bootstrap over prompts).
        unjudged, truncated: shares of all completions.
        tokens_mean: mean length of a completion, tokens.
        samples: how many samples were drawn for each prompt: the k of avg@k.
        sample_tokens_mean: mean length of a sample, tokens; None without samples.
        thoughts: thoughts of each kind (`evaluation.thoughts`) for each sample; for each greedy answer where no
            samples were drawn.
        kl: KL to the policy before the current stage, nats a token, estimated on the samples; None where there is no
            stage yet, or no sample.
        by_prompt: of each judged prompt, by its id, what `score` is the mean of; two runs are compared on it.
    """

    name: str
    step: int
    prompts: int
    seconds: float
    accuracy: Estimate | None = None
    average: Estimate | None = None
    pass_at: Mapping[int, Estimate] = field(default_factory=dict)
    unjudged: float = 0.0
    truncated: float = 0.0
    tokens_mean: float = 0.0
    samples: int = 0
    sample_tokens_mean: float | None = None
    thoughts: Mapping[str, float] = field(default_factory=dict)
    kl: float | None = None
    by_prompt: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """What evaluations are compared by: greedy accuracy, without it avg@k."""
        best = self.accuracy or self.average
        return best.value if best else None

    def __repr__(self) -> str:
        """Return one line with the main figures."""
        figures = "".join(f", {name} {figure}" for name, figure in self.figures().items())
        return f"<EvalResult {self.name!r}, step {self.step}{figures}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return html_of([self])

    def figures(self) -> dict[str, str]:
        """Return the estimates, with their intervals, and the mean length as text by name."""
        return figures_of(self.totals())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def totals(self) -> dict[str, Any]:
        """As `to_json`, without the single prompts."""
        return {key: value for key, value in self.to_json().items() if key != "by_prompt"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvalResult:
        values = dict(data)
        for key in ("accuracy", "average"):
            values[key] = Estimate(**values[key]) if values[key] else None
        values["pass_at"] = {int(k): Estimate(**v) for k, v in values["pass_at"].items()}
        return cls(**values)


def figures_of(line: Mapping[str, Any]) -> dict[str, str]:
    """Return the estimates of a line of evaluations.jsonl, with intervals, and its mean length as text by name."""
    found = {"greedy accuracy": line.get("accuracy"), f"avg@{line.get('samples') or 'k'}": line.get("average")}
    found |= {f"pass@{k}": estimate for k, estimate in (line.get("pass_at") or {}).items() if int(k) > 1}
    shown = {name: str(Estimate(**estimate)) for name, estimate in found.items() if estimate}
    return {**shown, "length": f"{line['tokens_mean']:.1f}"} if "tokens_mean" in line else shown


def html_of(results: Sequence[EvalResult]) -> str:
    """Return evaluations as a table for notebooks, one row each."""
    rows = [(result.name, {"step": str(result.step), **result.figures()}) for result in results]
    return html_table("held-out, 95 % intervals", *merged_rows(rows, "evaluation"))


def values_of(line: Mapping[str, Any], *, bounds: bool = False) -> dict[str, float]:
    """Return the numbers of a line of evaluations.jsonl by their names in the catalogue.

    Args:
        bounds: with the ends of the intervals of accuracy and avg@k.
    """
    values: dict[str, float] = {}
    for name in ("accuracy", "average"):
        if estimate := line.get(name):
            values[name] = estimate["value"]
            values |= {f"{name}_{end}": estimate[end] for end in ("low", "high") if bounds}
    values |= {f"pass@{k}": estimate["value"] for k, estimate in (line.get("pass_at") or {}).items()}
    values |= {f"thoughts/{kind}": float(each) for kind, each in (line.get("thoughts") or {}).items()}
    alone = ("tokens_mean", "sample_tokens_mean", "kl", "truncated", "unjudged")
    values |= {name: float(line[name]) for name in alone if line.get(name) is not None}
    return {of_evaluation(name): value for name, value in values.items()}
