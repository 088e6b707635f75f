"""When a stage ends before its `steps`: by a rule of the recipe on a metric (`until`), or by its guard.

Both are pure functions of metrics.jsonl, so a resumed run ends its stage where a straight one would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prerlkit.errors import UsageError
from prerlkit.metrics.catalogue import LOSS, OF_SAMPLES, OF_STEPS, STAGE, STEP, TRAINED_LOGPROB
from prerlkit.metrics.metric import UNREPEATABLE
from prerlkit.probes.protocol import History
from prerlkit.probes.registry import known_probes, make_probes, metric_names
from prerlkit.recipe.probes import Until
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.suggest import nearest
from prerlkit.train import guard
from prerlkit.train.metrics import verifier_metrics


def reached(stage: Stage, past: History) -> str:
    """Return why `stage` ends after the steps in `past`, in words; "" while it continues."""
    if why := guard.collapsed(stage, past):
        return why
    own = [metrics for name, metrics in past if name == stage.name]
    if len(own) >= stage.steps:
        return ""
    return next((why for rule in rules(stage) if (why := _holds(rule, stage, own))), "")


def rules(stage: Stage) -> tuple[Until, ...]:
    """Return the rules of `until`, of which one that holds ends the stage."""
    if stage.until is None:
        return ()
    return stage.until if isinstance(stage.until, tuple) else (stage.until,)


def _holds(rule: Until, stage: Stage, own: Sequence[Mapping[str, float]]) -> str:
    values = [metrics[rule.metric] for metrics in own if rule.metric in metrics][-rule.window :]
    if len(own) < rule.min_steps or len(values) < rule.window:
        return ""
    mean = sum(values) / len(values)
    if not _beyond(rule, mean):
        return ""
    over = f"over its last {len(values)} measurements" if len(values) > 1 else "at its last measurement"
    return (
        f'stage "{stage.name}" ends after {len(own)} of {stage.steps} steps, as its `until` asks: '
        f"{rule.metric} was {mean:.4g} {over}, {bound(rule)}"
    )


def bound(rule: Until) -> str:
    """`below 0.1`"""
    return f"above {rule.above:g}" if rule.above is not None else f"below {rule.below:g}"


def _beyond(rule: Until, mean: float) -> bool:
    return (rule.above is not None and mean > rule.above) or (rule.below is not None and mean < rule.below)


def check_until(recipe: Recipe) -> None:
    """Raise UsageError for a rule on a metric that this run will not have: such a rule would never end its stage."""
    always = {metric.name for metric in OF_STEPS if not metric.optional} - {STEP.name, STAGE.name}
    always |= set(verifier_metrics((), recipe.verifiers))
    measured = {name for probe in make_probes(recipe) for name in metric_names(probe)}
    of_probes = {probe.name: metric_names(probe) for probe in known_probes()}
    updates = always - {metric.name for metric in OF_SAMPLES} - set(verifier_metrics((), recipe.verifiers))
    for stage, rule in [(one, rule) for one in recipe.stages for rule in rules(one)]:
        metric, where = rule.metric, f'stages: "{stage.name}".until.metric'
        if stage.demonstrations is not None and metric not in updates and metric in always | measured:
            raise UsageError(
                f"{where}: {metric} is measured on samples, and a stage with demonstrations does not sample.",
                f"Choose {LOSS.name}, {TRAINED_LOGPROB.name} or another metric that is measured on updates.",
            )
        if metric in measured:
            continue
        if metric.startswith(UNREPEATABLE):
            raise UsageError(
                f"{where}: {metric} differs from run to run, so that no run could be repeated.",
                "Choose another metric.",
            )
        if metric in always:
            continue
        for probe in (name for name, own in of_probes.items() if metric in own):
            raise UsageError(f"{where}: {metric} needs its probe.", f"Add it to the recipe: probes: [{probe}].")
        known = sorted(always | {name for own in of_probes.values() for name in own})
        raise UsageError(f'{where}: there is no metric "{metric}"{nearest(metric, known)}')
