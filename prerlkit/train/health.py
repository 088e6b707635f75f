"""Health of a run: named warnings from the metrics alone, and the stop that a recipe asks for.

Each rule reads the current stage's last `window` steps. It is a pure function of metrics.jsonl: a resumed run warns at
the same steps as a straight run. Thresholds are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prerlkit.errors import PrerlkitError
from prerlkit.metrics.catalogue import (
    CANARY_DRIFT,
    COMPLETION_LENGTH,
    ENTROPY,
    HEALTH,
    NONFINITE_UPDATES,
    PASS_RATE,
    REWARD,
    TRUNCATED,
    UNJUDGED,
    ZERO_SIGNAL,
)
from prerlkit.metrics.metric import Metric
from prerlkit.recipe.output import Health, HealthName
from prerlkit.runs.files import resume_command

Steps = Sequence[Mapping[str, float]]
"""Metrics of a stage's steps, oldest first."""

_FEW = 5
"""Steps that are enough for what must be reported at once, or in a short stage."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A condition that began to hold."""

    name: str
    message: str
    advice: str

    def __str__(self) -> str:
        return f"health: {self.name}: {self.message}. {self.advice}"


class Unhealthy(PrerlkitError):  # noqa: N818 -- a state of the run, as it is named to the user
    """A run stopped by a rule of its recipe; its state is saved."""


def check(steps: Steps, settings: Health) -> list[Warned]:
    """Return the conditions that hold after the last of `steps`."""
    sampled = bool(steps) and REWARD.name in steps[-1]
    found = [rule(steps, settings) for rule in (RULES.values() if sampled else _OF_UPDATES)]
    return [warned for warned in found if warned is not None]


class HealthWatch:
    """Receives every step of a run and returns the metrics `health/<name>` of the conditions that hold.

    Args:
        settings: the recipe's.
        report: called with each warning when its condition begins to hold.
        history: (stage, metrics) of steps that are done, of a run that continues.
    """

    def __init__(
        self, settings: Health, report: Callable[[str], None], history: Sequence[tuple[str, Mapping[str, float]]] = ()
    ) -> None:
        self._settings = settings
        self._report = report
        self._stage = history[-1][0] if history else ""
        self._steps = [metrics for stage, metrics in history if stage == self._stage]
        self._holding = {warned.name for warned in check(self._steps, settings)}
        self._stop: Warned | None = None

    def examine(self, stage: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """Add a step and return `health/<name>`: 1 for each condition that holds now."""
        if stage != self._stage:
            self._stage, self._steps, self._holding = stage, [], set()
        self._steps.append(metrics)
        holding = check(self._steps, self._settings)
        for warned in holding:
            if warned.name not in self._holding:
                self._report(str(warned))
        self._holding = {warned.name for warned in holding}
        stopping = [warned for warned in holding if warned.name in self._settings.stop_on]
        self._stop = stopping[0] if stopping else None
        return {HEALTH.of(warned.name): 1.0 for warned in holding}

    @property
    def wants_stop(self) -> bool:
        """Whether a condition holds on which the recipe stops."""
        return self._stop is not None

    def raise_if_stopping(self, folder: Path) -> None:
        """Raise Unhealthy for the condition on which the recipe stops, with what to try. `folder` is the run's."""
        if self._stop is not None:
            raise Unhealthy(
                f'stopped by health.stop_on: {self._stop.name} in stage "{self._stage}": {self._stop.message}.',
                f"{self._stop.advice} All steps are saved: `{resume_command(folder)}` continues, with "
                "`--set health.stop_on=[]` without this stop.",
            )


def _no_signal(steps: Steps, settings: Health) -> Warned | None:
    """Warn when at least 95 % of the groups have equal scores over the last `window` steps."""
    last = steps[-settings.window :]
    share = _mean(last, ZERO_SIGNAL)
    if len(last) < settings.window or share < 0.95:
        return None
    return Warned(
        "no_signal",
        f"{share:.0%} of the groups had equal scores in the last {len(last)} steps, which teaches nothing",
        "Try prompts of another difficulty, a larger rollout.group_size, a partial reward; look at samples.jsonl: "
        "can the verifier read the answers at all?",
    )


def _entropy_collapse(steps: Steps, settings: Health) -> Warned | None:
    """Warn when the entropy is at most a tenth of that in the stage's first window."""
    first, last = _ends(steps, settings.window, ENTROPY)
    if first is None or last is None or first <= 0 or last > 0.1 * first:
        return None
    return Warned(
        "entropy_collapse",
        f"entropy fell from {first:.3f} to {last:.3f} nats a token: samples of one prompt are nearly the same",
        "Try a lower learning rate, an entropy term (objective.entropy), a higher loss.high, samples: negative.",
    )


def _entropy_blowup(steps: Steps, settings: Health) -> Warned | None:
    """Warn when the entropy is at least twice that in the stage's first window, and 0.5 nats above it."""
    first, last = _ends(steps, settings.window, ENTROPY)
    if first is None or last is None or last < max(2.0 * first, first + 0.5):
        return None
    return Warned(
        "entropy_blowup",
        f"entropy rose from {first:.2f} to {last:.2f} nats a token: text turns into noise",
        "Try a lower learning rate, fewer negative-only steps, a lower loss.high, a KL term.",
    )


def _all_truncated(steps: Steps, settings: Health) -> Warned | None:
    """Warn when at least 95 % of the completions ran into the token limit over the last `window` steps."""
    last = steps[-settings.window :]
    share = _mean(last, TRUNCATED)
    if len(last) < settings.window or share < 0.95:
        return None
    return Warned(
        "all_truncated",
        f"{share:.0%} of the completions ran into the token limit in the last {len(last)} steps",
        "Try a larger rollout.max_new_tokens, a prompt that asks for short answers, and see whether the model ever "
        "writes an end token (end_token_ids in environment.json).",
    )


def _truncation_rise(steps: Steps, settings: Health) -> Warned | None:
    """Warn when at least half of the completions ran into the token limit in the stage's last five steps, and at least
    25 points more than in its first five.
    """
    # Five steps, not a window: a short stage ends before it has two windows.
    first, last = _ends(steps, min(_FEW, settings.window), TRUNCATED)
    if first is None or last is None or last < max(0.5, first + 0.25):
        return None
    return Warned(
        "truncation_rise",
        f"the share of completions that ran into the token limit rose from {first:.0%} to {last:.0%}",
        "An answer that stands before the limit is rewarded all the same, so nothing teaches to end. Try a `length` "
        "verifier, objective.truncated: mask, a lower learning rate; read samples.jsonl.",
    )


def _flat_reward(steps: Steps, settings: Health) -> Warned | None:
    """Warn when the mean reward moved by less than 0.01 over three windows and is not above 0.95."""
    span = 3 * settings.window
    if len(steps) < span:
        return None
    before = _mean(steps[-span : -span + settings.window], REWARD)
    now = _mean(steps[-settings.window :], REWARD)
    if now > 0.95 or abs(now - before) >= 0.01:
        return None
    return Warned(
        "flat_reward",
        f"the mean reward moved from {before:.3f} to {now:.3f} over {span} steps",
        "Try a higher learning rate (LoRA wants ten times that of full tuning), more samples a step, easier prompts.",
    )


def _length_runaway(steps: Steps, settings: Health) -> Warned | None:
    """Warn when completions are at least three times as long as in the stage's first window, or 10 points more of them
    run into the token limit, and the pass rate is below 80 % of the first window's, or 0.
    """
    # Longer answers at a pass rate that holds are no fault: NSR-PreRL and GRPO are meant to give them.
    first, last = _ends(steps, settings.window, COMPLETION_LENGTH)
    cut, cut_now = _ends(steps, settings.window, TRUNCATED)
    passed, passed_now = _ends(steps, settings.window, PASS_RATE)
    if first is None or last is None or cut is None or cut_now is None or passed is None or passed_now is None:
        return None
    longer = last >= 3.0 * max(first, 1.0) or cut_now >= cut + 0.1  # the limit hides how long they would be
    if not longer or passed_now >= max(0.8 * passed, 1e-9):
        return None
    return Warned(
        "length_runaway",
        f"completions grew from {first:.0f} to {last:.0f} tokens ({cut:.0%} to {cut_now:.0%} of them truncated), "
        f"and those that passed went from {passed:.1%} to {passed_now:.1%}",
        "Try aggregate: constant or sequence_mean, a `length` verifier, a lower learning rate; read samples.jsonl.",
    )


def _drift(steps: Steps, settings: Health) -> Warned | None:
    """Warn when `canary/drift` is at least 0.1 nats per token on average over the last `window` steps."""
    last = [step for step in steps[-settings.window :] if CANARY_DRIFT.name in step]
    if len(last) < min(3, settings.window) or _mean(last, CANARY_DRIFT) < 0.1:
        return None
    return Warned(
        "drift",
        f"the sampler's log-probs are {_mean(last, CANARY_DRIFT):.2f} nats a token from the trainer's",
        "The engine may hold another policy than the one that learns: try rollout.engine: hf to compare, the same "
        "dtype on both sides, no top_p or top_k.",
    )


def _unjudged(steps: Steps, settings: Health) -> Warned | None:
    """Warn when at least 20 % of the completions have no verdict over the last five steps."""
    last = steps[-min(_FEW, settings.window) :]
    share = _mean(last, UNJUDGED)
    if len(last) < min(_FEW, settings.window) or share < 0.2:
        return None
    return Warned(
        "unjudged",
        f"{share:.0%} of the completions got no verdict in the last {len(last)} steps; they teach nothing",
        "The reasons are in samples.jsonl. Try a longer verifiers[].timeout; `prerlkit verifiers test` runs it alone.",
    )


def _nonfinite(steps: Steps, settings: Health) -> Warned | None:
    """Warn when the gradient was not finite in `health.nonfinite_limit` steps in a row."""
    last = steps[-settings.nonfinite_limit :]
    if len(last) < settings.nonfinite_limit or not all(step.get(NONFINITE_UPDATES.name, 0) for step in last):
        return None
    return Warned(
        "nonfinite",
        f"the gradient was not finite in {len(last)} steps in a row; none of them changed the adapter",
        "Try a lower learning rate, model.dtype: bfloat16 instead of float16, a smaller loss.high.",
    )


Rule = Callable[[Steps, Health], Warned | None]
RULES: Mapping[HealthName, Rule] = {
    "no_signal": _no_signal,
    "entropy_collapse": _entropy_collapse,
    "entropy_blowup": _entropy_blowup,
    "all_truncated": _all_truncated,
    "truncation_rise": _truncation_rise,
    "flat_reward": _flat_reward,
    "length_runaway": _length_runaway,
    "drift": _drift,
    "unjudged": _unjudged,
    "nonfinite": _nonfinite,
}
"""The rule of each condition. docs/tables.py makes the table of docs/reliability.md from their docstrings."""
_OF_UPDATES = (_nonfinite,)
"""The rules of a supervised stage: the others look at samples."""


def _mean(steps: Steps, metric: Metric) -> float:
    return sum(step[metric.name] for step in steps) / len(steps) if steps else 0.0


def _ends(steps: Steps, window: int, metric: Metric) -> tuple[float | None, float | None]:
    """Return the means of the stage's first window and of its last; None while the windows overlap."""
    if len(steps) < 2 * window:
        return None, None
    return _mean(steps[:window], metric), _mean(steps[-window:], metric)
