"""Change: the change of each token's log-prob by a step's update, with the prompt and without it.

The probe makes the same passes before and after the update. It does not use the sampler's log-probs as "before": in 16
bit, or from another engine, they differ from a pass of the trainer by more than a step changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from prerlkit.metrics.metric import Metric
from prerlkit.objective.advantage import advantages
from prerlkit.probes.protocol import Probe, ProbeInput, ProbeResult
from prerlkit.settings import PositiveInt, ProbeSettings
from prerlkit.types import Completion, Group

if TYPE_CHECKING:
    from torch import Tensor


class ChangeSettings(ProbeSettings):
    """What a step's update did to the log-prob of each token of its completions, behind the prompt and without."""

    name: Literal["change"] = "change"
    every: PositiveInt = 5
    """Steps of a stage between two measurements. 5: ours."""
    groups: PositiveInt = 2
    """How many groups: each costs four passes without backward, two of them without its prompt. 2: as many as
    samples.jsonl keeps of a step by default, so that the report can colour each of them."""


METRICS = (
    Metric(
        "probe/change/conditional",
        "mean change of log P(y\\|x) over the tokens of the step's first `groups` groups (2)",
        "nats a token",
    ),
    Metric(
        "probe/change/conditional/positive",
        "over completions with an advantage above 0, of the stage's first objective",
        "nats a token",
    ),
    Metric(
        "probe/change/conditional/negative", "below 0: what a negative sample loses behind its prompt", "nats a token"
    ),
    Metric("probe/change/pretrain", "mean change of log P(y)", "nats a token"),
    Metric("probe/change/pretrain/positive", "over completions with an advantage above 0", "nats a token"),
    Metric("probe/change/pretrain/negative", "below 0: what NSR-PreRL pushes away", "nats a token"),
)

SPACES = ("conditional", "pretrain")
_HALF = "\ufffd"


class Change(Probe):
    """The probe `change`."""

    name = "change"
    Settings = ChangeSettings
    metrics = METRICS

    settings: ChangeSettings

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Make a pass without backward in each space now, and again after the update."""
        groups = seen.groups[: self.settings.groups]
        before = _scores(seen, groups)
        return (
            ProbeResult(after=lambda later: _reading(later, groups, before)) if before["conditional"] else ProbeResult()
        )


def _scores(seen: ProbeInput, groups: Sequence[Group]) -> dict[str, list[Tensor]]:
    """Return the log-probs of each completion that has a token, group by group, in both spaces."""
    from prerlkit.policy.microbatch import TokenRow
    from prerlkit.probes.passes import score

    pairs = [(group.prompt.token_ids, c.token_ids) for group in groups for c in group.completions if c.token_ids]
    start = (seen.policy.start.id,)
    return {
        "conditional": score(seen, [TokenRow(prompt, y) for prompt, y in pairs]),
        "pretrain": score(seen, [TokenRow(start, y) for _, y in pairs]),
    }


def _reading(seen: ProbeInput, groups: Sequence[Group], before: Mapping[str, Sequence[Tensor]]) -> ProbeResult:
    """Return the probe's result after the update, when `seen.policy` is the new policy."""
    after = _scores(seen, groups)
    changes = {space: [b - a for a, b in zip(before[space], after[space], strict=True)] for space in SPACES}
    values = [
        advantage
        for group in groups
        for completion, advantage in zip(
            group.completions, advantages(group.verdicts, seen.stage.objective[0].advantage), strict=True
        )
        if completion.token_ids
    ]
    metrics = {name: mean for space in SPACES for name, mean in _means(space, changes[space], values).items()}
    return ProbeResult(metrics, {"groups": _details(seen, groups, before, changes)})


def _means(space: str, changes: Sequence[Tensor], values: Sequence[float | None]) -> dict[str, float]:
    """Return the mean change per token: of all completions, and of those with an advantage above and below 0."""
    sets = {
        "": changes,
        "/positive": [own for own, value in zip(changes, values, strict=True) if value is not None and value > 0.0],
        "/negative": [own for own, value in zip(changes, values, strict=True) if value is not None and value < 0.0],
    }
    return {
        f"probe/change/{space}{kind}": sum(float(own.double().sum()) for own in chosen) / sum(map(len, chosen))
        for kind, chosen in sets.items()
        if chosen
    }


def _details(
    seen: ProbeInput,
    groups: Sequence[Group],
    before: Mapping[str, Sequence[Tensor]],
    changes: Mapping[str, Sequence[Tensor]],
) -> list[dict[str, Any]]:
    """Return the completions' tokens of each group: as text, log-probs before the update, and their changes."""
    each = iter(range(len(before["conditional"])))

    def tokens(completion: Completion) -> dict[str, Any]:
        if not completion.token_ids:
            return {}
        n = next(each)
        found: dict[str, Any] = {"pieces": token_texts(seen.policy.tokenizer, completion.token_ids)}
        for space in SPACES:
            found[space] = [round(value, 3) for value in before[space][n].tolist()]
            found[f"{space}_change"] = [float(f"{value:.3g}") for value in changes[space][n].tolist()]
        return found

    return [
        {"prompt_id": group.prompt.id, "completions": [tokens(completion) for completion in group.completions]}
        for group in groups
    ]


def token_texts(tokenizer: Any, token_ids: Sequence[int]) -> list[str]:
    """Return what each token adds to the text, special tokens included; joined they are the whole text, if it is valid.

    A character that takes several tokens stands at the last of them, the others add "". Decoded with the tokens of the
    character before in front, because some tokenizers drop a space at the beginning of what they decode.
    """
    texts, begin, done = [], 0, 0
    for n in range(1, len(token_ids) + 1):
        before = _decode(tokenizer, token_ids[begin:done])
        whole = _decode(tokenizer, token_ids[begin:n])
        if whole.endswith(_HALF) and n < len(token_ids) and n - done < 4:  # a character is four bytes at most
            texts.append("")
            continue
        texts.append(whole[len(before) :])
        begin, done = done, n
    return texts


def _decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
