"""The five independent choices that make an objective, as frozen settings.

Source: *From P(y|x) to P(y)* (arXiv 2604.14142) and its public code; every other choice names its own paper. There is
no class and no branch per algorithm: `prerlkit.objective.presets` gives names to combinations of these five.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from prerlkit.plugins import FILE, FileName, is_file
from prerlkit.settings import Bool, Float, NonNegativeFloat, PositiveFloat, PositiveInt, Settings, word_to_kind

Space = Literal["conditional", "pretrain"]
Samples = Literal["all", "negative", "positive"]


class GroupMean(Settings):
    """r − mean(r) of the group: the paper's advantage in pre-train space, and Dr.GRPO's (arXiv 2503.20783)."""

    kind: Literal["group_mean"] = "group_mean"


class GroupStd(Settings):
    """(r − mean)/(std + epsilon) with the sample std (n−1): GRPO (arXiv 2402.03300), as the paper's code has it."""

    kind: Literal["group_std"] = "group_std"
    epsilon: PositiveFloat = 1e-6
    """Added to the std. 1e-6 is the reference code's."""
    virtual_maximum: Bool = False
    """Take mean and std over the group and one more reward of 1, which no completion has: a group that is all wrong
    then has negative advantages (advantage calibration of NGRPO, arXiv 2509.18851)."""


class Rloo(Settings):
    """r − mean of the *other* rewards of the group: RLOO (arXiv 2402.14740)."""

    kind: Literal["rloo"] = "rloo"


class MaxRl(Settings):
    """(r − mean)/mean of the group, 0 where the mean is 0: MaxRL (arXiv 2602.02710), for rewards of 0 and 1."""

    kind: Literal["max_rl"] = "max_rl"


class Constant(Settings):
    """+positive for a pass, −negative for a fail, independent of the group: RLVR-Decomposed (arXiv 2506.01347)."""

    kind: Literal["constant"] = "constant"
    positive: NonNegativeFloat = 1.0
    """Weight of a passed sample. 0.1 makes W-REINFORCE (λ in the paper)."""
    negative: NonNegativeFloat = 1.0
    """Weight of a failed sample."""


class Demonstrated(Settings):
    """1 for every answer: the stage learns from demonstrations, which have no rewards (supervised fine-tuning)."""

    kind: Literal["demonstrated"] = "demonstrated"


class Clip(Settings):
    """PPO's clipped ratio (arXiv 1707.06347) with dual clip (arXiv 1912.09729) where the advantage is negative."""

    kind: Literal["clip"] = "clip"
    low: NonNegativeFloat = 0.2
    """The ratio is clipped at 1 − low. 0.2: the paper. TRL: `epsilon`; verl: `clip_ratio`, `clip_ratio_low`."""
    high: NonNegativeFloat = 0.2
    """The ratio is clipped at 1 + high. 0.2 in the paper's pre-train space; 0.28 ("clip higher") in its GRPO. TRL:
    `epsilon_high`; verl: `clip_ratio_high`."""
    dual: PositiveFloat | None = 10.0
    """For A < 0 the loss is at most dual·|A|. 10: the reference code. null: no dual clip. TRL: `delta`; verl:
    `clip_ratio_c`."""


class Reinforce(Settings):
    """−A·log π, no ratio and no clip: right while each rollout batch gives one update."""

    kind: Literal["reinforce"] = "reinforce"


class Gspo(Settings):
    """GSPO (arXiv 2507.18071): one ratio per sequence, the geometric mean of its token ratios, clipped."""

    kind: Literal["gspo"] = "gspo"
    low: NonNegativeFloat = 3e-4
    """The sequence ratio is clipped at 1 − low. 3e-4: the paper."""
    high: NonNegativeFloat = 4e-4
    """The sequence ratio is clipped at 1 + high. 4e-4: the paper."""


class Cispo(Settings):
    """CISPO (MiniMax-M1, arXiv 2506.13585): −sg(min(ratio, max))·A·log π. A clipped token keeps its gradient."""

    kind: Literal["cispo"] = "cispo"
    max: PositiveFloat = 5.0
    """Upper bound of the importance weight. 5: ScaleRL (arXiv 2510.13786)."""


class TokenMean(Settings):
    """Sum over tokens / number of tokens of the whole step.

    A departure from the reference code on purpose: there the mean is per micro-batch and depends on packing.
    """

    kind: Literal["token_mean"] = "token_mean"


class SequenceMean(Settings):
    """Mean over sequences of each sequence's token mean: GRPO as first published, and GSPO."""

    kind: Literal["sequence_mean"] = "sequence_mean"


class ConstantLength(Settings):
    """Sum over tokens / (sequences · length): Dr.GRPO (arXiv 2503.20783), free of length bias."""

    kind: Literal["constant"] = "constant"
    length: PositiveInt | None = None
    """Tokens to divide by; null takes the rollout's max_new_tokens."""


class Kl(Settings):
    """KL penalty against the reference policy: everything below the trainable adapter, in the objective's space."""

    coefficient: PositiveFloat
    """TRL: `beta`; verl: `kl_loss_coef`."""
    estimator: Literal["k1", "k2", "k3"] = "k3"
    """k1 = log π/π_ref, k2 = ½(log π/π_ref)², k3 = π_ref/π − 1 − log π_ref/π (joschu.net/blog/kl-approx.html). verl:
    `kl_loss_type`."""


class FileChoice(Settings):
    """A choice from a file next to the recipe."""

    kind: FileName
    """path/to/file.py:Name"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Its own, checked by its own class."""


class FileAdvantage(FileChoice):
    """An advantage from a file next to the recipe: a `prerlkit.objective.plugins.AdvantageFunction`."""


class FileLoss(FileChoice):
    """A loss from a file next to the recipe: a `prerlkit.objective.plugins.LossFunction`."""


def kind(value: Any) -> str | None:
    """Return the tag of a choice: its kind, or `FILE` for the name of a file."""
    word = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return FILE if is_file(word) else word


_word = BeforeValidator(word_to_kind)
Advantage = Annotated[
    Annotated[GroupMean, Tag("group_mean")]
    | Annotated[GroupStd, Tag("group_std")]
    | Annotated[Rloo, Tag("rloo")]
    | Annotated[MaxRl, Tag("max_rl")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Demonstrated, Tag("demonstrated")]
    | Annotated[FileAdvantage, Tag(FILE)],
    Discriminator(kind),
    _word,
]
Loss = Annotated[
    Annotated[Clip, Tag("clip")]
    | Annotated[Reinforce, Tag("reinforce")]
    | Annotated[Gspo, Tag("gspo")]
    | Annotated[Cispo, Tag("cispo")]
    | Annotated[FileLoss, Tag(FILE)],
    Discriminator(kind),
    _word,
]
Aggregate = Annotated[TokenMean | SequenceMean | ConstantLength, Field(discriminator="kind"), _word]


class Objective(Settings):
    """One objective: five independent choices, and three terms that may be added to any of them."""

    space: Space
    """conditional: log P(y|x). pretrain: log P(y), the same y scored without its prompt behind the start token."""
    samples: Samples
    """Which samples carry gradient, by the sign of the advantage. What is left out never reaches the model."""
    advantage: Advantage
    """group_mean | group_std | rloo | max_rl | constant | demonstrated | path/to/file.py:Name. TRL: `scale_rewards`;
    verl: `adv_estimator`."""
    loss: Loss
    """clip | reinforce | gspo | cispo | path/to/file.py:Name. TRL: `loss_type`,
    `importance_sampling_level`; verl: `loss_mode`."""
    aggregate: Aggregate
    """token_mean | sequence_mean | constant: the denominator, counted over the samples that `samples` chooses. TRL:
    `loss_type`; verl: `loss_agg_mode`."""
    kl: Kl | None = None
    """KL penalty; null: off, as in the paper."""
    entropy: Float = 0.0
    """Coefficient of an entropy bonus, nats per token. 0: off, as in the paper. TRL: `entropy_coef`; verl:
    `entropy_coeff`."""
    coefficient: PositiveFloat = 1.0
    """Weight of this objective. The reference code uses 0.01 in warm-up; see docs/algorithms.md before you do."""
    signal_only: Bool = False
    """Count only samples with advantage ≠ 0 in the denominator, as after dynamic sampling (DAPO, 2503.14476)."""
    truncated: Literal["count", "mask"] = "count"
    """mask: a truncated completion keeps its place in the baseline, but its tokens neither carry gradient nor count in
    any denominator (DAPO's overlong filtering). count: it is a completion like any other, as in the paper. TRL:
    `mask_truncated_completions`."""

    @property
    def regularized(self) -> bool:
        """Whether samples with advantage 0 carry gradient too (KL, entropy)."""
        return self.kl is not None or self.entropy != 0.0

    @property
    def choices(self) -> str:
        """The five choices in words."""
        kinds = (self.advantage.kind, self.loss.kind, self.aggregate.kind)
        return " · ".join((self.space, self.samples, *kinds))

    def weighted(self, name: str) -> str:
        """Return `name` with the coefficient in front where it is not 1."""
        return name if self.coefficient == 1.0 else f"{self.coefficient:g} × {name}"
