"""When a stage ends before its `steps`: a rule of the recipe on a metric, a pure function of metrics.jsonl.

So a run that goes on ends its stage where a straight one would have.
"""

from __future__ import annotations

from prerlkit.errors import UsageError
from prerlkit.metrics.catalogue import OF_STEPS, STAGE, STEP
from prerlkit.metrics.metric import UNREPEATABLE
from prerlkit.probes.protocol import History
from prerlkit.probes.registry import known_probes, make_probes, metric_names
from prerlkit.recipe.probes import Until
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.suggest import nearest
from prerlkit.train.metrics import verifier_metrics


def reached(stage: Stage, past: History) -> str:
    """Why `stage` ends after the steps in `past`, its rule in words; "" while it goes on or has no rule."""
    rule = stage.until
    if rule is None:
        return ""
    own = [metrics for name, metrics in past if name == stage.name]
    values = [metrics[rule.metric] for metrics in own if rule.metric in metrics][-rule.window :]
    if len(own) < rule.min_steps or len(values) < rule.window:
        return ""
    mean = sum(values) / len(values)
    if not _beyond(rule, mean):
        return ""
    return (
        f'stage "{stage.name}" ends after {len(own)} of {stage.steps} steps: {rule.metric} was {mean:.4g}'
        f" over its last {len(values)} measurements, {bound(rule)}"
    )


def bound(rule: Until) -> str:
    """`below 0.1`"""
    return f"above {rule.above:g}" if rule.above is not None else f"below {rule.below:g}"


def _beyond(rule: Until, mean: float) -> bool:
    return (rule.above is not None and mean > rule.above) or (rule.below is not None and mean < rule.below)


def check_until(recipe: Recipe) -> None:
    """Raise UsageError for a rule on a metric that this run will not have: it would never end its stage."""
    always = {metric.name for metric in OF_STEPS if not metric.optional} - {STEP.name, STAGE.name}
    always |= set(verifier_metrics((), recipe.verifiers))
    measured = {name for probe in make_probes(recipe) for name in metric_names(probe)}
    of_probes = {probe.name: metric_names(probe) for probe in known_probes()}
    for stage in recipe.stages:
        if stage.until is None or stage.until.metric in measured:
            continue
        metric, where = stage.until.metric, f'stages: "{stage.name}".until.metric'
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
