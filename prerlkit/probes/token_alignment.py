"""Alignment token by token: for which tokens does pushing log P(y) push log P(y|x), and more than by chance?

    cosine_t = cos(∇_φ log π(y_t | s, y_<t), ∇_φ log π(y_t | x, y_<t))     φ: the parameters of the trainable adapter

A cosine needs a baseline, because both gradients share y_<t. There are two: the same answers after another prompt of
the step, and the same tokens under weights that were never trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prerlkit.errors import UsageError
from prerlkit.metrics.metric import Metric
from prerlkit.probes.protocol import Probe, ProbeInput, ProbeResult
from prerlkit.settings import Bool, PositiveInt, ProbeSettings

if TYPE_CHECKING:
    from torch import Tensor

    from prerlkit.recipe.schema import Recipe


class TokenAlignmentSettings(ProbeSettings):
    """Cosine of ∇log P(y) and ∇log P(y|x) token by token, with two baselines; docs/probes.md says how to read it."""

    name: Literal["token_alignment"] = "token_alignment"
    every: PositiveInt = 20
    """Steps of a stage between two measurements; its first step is always measured. 20: ours."""
    groups: PositiveInt = 16
    """How many groups of the step, the first ones, tokens are taken from. 16: ours."""
    tokens: PositiveInt = 64
    """How many tokens, evenly from all completions: each costs three passes with backward, and in the run's first
    measurement two more with `untrained`. 64: ours."""
    untrained: Bool = True
    """Also measure the same tokens once in the run, in its first measurement, with random weights in the place of the
    model's. The model's own wait in main memory meanwhile. It needs a base that is not quantized."""


KINDS = ("lowered", "same", "raised", "decided")
"""By log p(y_t|x, y_<t) − log p(y_t|s, y_<t) in nats: below −0.1, up to 0.1, up to 1, above 1."""
_BOUNDS = (-0.1, 0.1, 1.0)

POSITIONS = (0, 4, 16, 64, 256)
"""Where each bin of positions begins; the last has no end."""
_PLACES = tuple(f"from_{begin}" for begin in POSITIONS)

_BY_KIND = (
    "the prompt makes the token less likely (`lowered`), changes its log-prob by at most 0.1 nats (`same`), raises it "
    "by up to 1 (`raised`), or by more (`decided`)"
)

METRICS = (
    Metric("probe/token_alignment", "mean cosine over the tokens"),
    Metric("probe/token_alignment/kind/<kind>", f"over tokens of one kind: {_BY_KIND}", parts=KINDS),
    Metric("probe/token_alignment/position/<bin>", "over the tokens from that place of the answer on", parts=_PLACES),
    Metric("probe/token_alignment/thoughts", "over tokens in phrases that thoughts are counted by"),
    Metric(
        "probe/token_alignment/other_prompt",
        "baseline: mean cosine between behind another prompt and behind the own one",
    ),
    Metric("probe/token_alignment/other_prompt/<kind>", "the same by kind", parts=KINDS),
    Metric(
        "probe/token_alignment/untrained", "baseline: mean cosine under random weights; first measurement of a run only"
    ),
    Metric(
        "probe/token_alignment/untrained/<kind>", "the same by kind, which is that under the own weights", parts=KINDS
    ),
)


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """One token y_t of a completion, and the contexts that its gradient is taken after."""

    prompt: tuple[int, ...]
    other_prompt: tuple[int, ...] | None
    completion: tuple[int, ...]
    position: int
    in_thought: bool


@dataclass(frozen=True, slots=True)
class TokenCosine:
    """The measurement of one token; None where a gradient is 0 or nothing can be measured."""

    token: ChosenToken
    pretrain_logprob: float
    conditional_logprob: float
    cosine: float | None
    other_prompt: float | None
    norm_ratio: float | None
    untrained: float | None = None

    @property
    def kind(self) -> str:
        return kind_of(self.conditional_logprob - self.pretrain_logprob)


class TokenAlignment(Probe):
    """The probe `token_alignment`."""

    name = "token_alignment"
    Settings = TokenAlignmentSettings
    metrics = METRICS

    settings: TokenAlignmentSettings

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        changed = recipe.model.quantization != "none" or any(stage.adapter.dora for stage in recipe.stages)
        if self.settings.untrained and changed:
            raise UsageError(
                'the probe "token_alignment" replaces the model\'s weights by random ones, which a quantized base and '
                "DoRA don't allow.",
                "Set untrained: false in the probe.",
            )

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Make three passes with backward for each token, each over the answer up to the token."""
        from prerlkit.probes.passes import token_gradients, untrained

        chosen = choose(seen, self.settings.groups, self.settings.tokens)
        start = (seen.policy.start.id,)
        measured = []
        for token in chosen:
            contexts = [start, token.prompt, *([token.other_prompt] if token.other_prompt else [])]
            pretrain, conditional, *other = token_gradients(seen, [_row(context, token) for context in contexts])
            measured.append(
                TokenCosine(
                    token,
                    pretrain[0],
                    conditional[0],
                    _cosine(pretrain[1], conditional[1]),
                    _cosine(other[0][1], conditional[1]) if other else None,
                    _ratio(pretrain[1], conditional[1]),
                )
            )
        random: list[float | None] = [None] * len(measured)
        if self.settings.untrained and not any(UNTRAINED in metrics for _, metrics in seen.past):
            with untrained(seen.policy.base):
                pairs = (token_gradients(seen, [_row(start, t), _row(t.prompt, t)]) for t in chosen)
                random = [_cosine(one[1], other[1]) for one, other in pairs]
        return _result(measured, random)


UNTRAINED = "probe/token_alignment/untrained"


def kind_of(gain: float) -> str:
    """Return the kind of a token whose log-prob the prompt raises by `gain` nats."""
    least, same, raised = _BOUNDS
    return KINDS[0 if gain < least else 1 if gain <= same else 2 if gain <= raised else 3]


def place_of(position: int) -> str:
    """Return the bin of a position, from 0."""
    return _PLACES[sum(position >= begin for begin in POSITIONS) - 1]


def choose(seen: ProbeInput, groups: int, most: int) -> list[ChosenToken]:
    """Return at most `most` tokens, evenly from all completions of the first `groups` groups.

    The other prompt of a token is that of the next group; None where no group has another prompt.
    """
    from prerlkit.evaluation.thoughts import spans
    from prerlkit.probes.change import token_texts

    found = []
    own = seen.groups[:groups]
    for number, group in enumerate(own):
        prompt = group.prompt.token_ids
        following = itertools.chain(own[number + 1 :], own[:number])
        other = next((one.prompt.token_ids for one in following if one.prompt.token_ids != prompt), None)
        for y in (completion.token_ids for completion in group.completions if completion.token_ids):
            pieces = token_texts(seen.policy.tokenizer, y)
            thoughts = spans("".join(pieces))
            ends = list(itertools.accumulate(map(len, pieces)))
            for t, (piece, end) in enumerate(zip(pieces, ends, strict=True)):
                begin = end - len(piece)
                inside = any(begin < last and first < end for first, last in thoughts)
                found.append(ChosenToken(prompt, other, y, t, inside))
    count = min(most, len(found))
    return [found[i * len(found) // count] for i in range(count)]


def _row(context: tuple[int, ...], token: ChosenToken) -> Any:
    from prerlkit.policy.microbatch import TokenRow

    return TokenRow(context, token.completion[: token.position + 1])


def _cosine(one: Tensor, other: Tensor) -> float | None:
    """Return the cosine in float64; None where one of the gradients is 0 or not finite."""
    x, y = one.double(), other.double()
    norms = float(x.norm() * y.norm())
    dot = float(x @ y)
    return dot / norms if norms > 0.0 and math.isfinite(norms) and math.isfinite(dot) else None


def _ratio(one: Tensor, other: Tensor) -> float | None:
    """None where one of the gradients is 0 or not finite."""
    above, below = float(one.double().norm()), float(other.double().norm())
    return above / below if above > 0.0 and below > 0.0 and math.isfinite(above) and math.isfinite(below) else None


def _result(measured: Sequence[TokenCosine], random: Sequence[float | None]) -> ProbeResult:
    pairs = list(zip(measured, random, strict=True))
    sets = {"all": pairs}
    sets |= {f"kind/{kind}": [pair for pair in pairs if pair[0].kind == kind] for kind in KINDS}
    places = {f"position/{p}": [pair for pair in pairs if place_of(pair[0].token.position) == p] for p in _PLACES}
    sets |= {**places, "thoughts": [pair for pair in pairs if pair[0].token.in_thought]}
    details = {name: _means(own) for name, own in sets.items() if own}
    metrics: dict[str, float] = {}
    for name, own in details.items():
        suffix = "" if name == "all" else f"/{name}"
        metrics |= _known({f"probe/token_alignment{suffix}": own["cosine"]})
        if name == "all" or name.startswith("kind/"):
            suffix = suffix.removeprefix("/kind")
            for baseline in ("other_prompt", "untrained"):
                metrics |= _known({f"probe/token_alignment/{baseline}{suffix}": own[baseline]})
    return ProbeResult(metrics, details)


def _means(own: Sequence[tuple[TokenCosine, float | None]]) -> dict[str, Any]:
    """Return the number of tokens of a set, and the mean of each figure over the tokens that have it."""
    return {
        "tokens": len(own),
        "cosine": _mean(one.cosine for one, _ in own),
        "other_prompt": _mean(one.other_prompt for one, _ in own),
        "untrained": _mean(random for _, random in own),
        "probability": _mean(math.exp(one.conditional_logprob) for one, _ in own),
        "probability_alone": _mean(math.exp(one.pretrain_logprob) for one, _ in own),
        "norm_ratio": _geometric_mean(one.norm_ratio for one, _ in own),
    }


def _geometric_mean(values: Iterable[float | None]) -> float | None:
    """Return it over the known values; a plain mean of ratios is that of the few tokens with hardly a gradient."""
    mean = _mean(math.log(value) for value in values if value)
    return None if mean is None else math.exp(mean)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
