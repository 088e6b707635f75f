"""A training step in one line, and one of its completions in two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from prerlkit.metrics import catalogue as known
from prerlkit.metrics.metric import Metric
from prerlkit.page.text import visible
from prerlkit.types import StepRecord


@dataclass(frozen=True, slots=True)
class _Field:
    """A part of the line.

    Attributes:
        rank: the highest one is the first to be dropped from a narrow terminal; 0 always stays.
        zero: it says that something did not happen. A terminal leaves it out.
    """

    text: str
    rank: int = 0
    zero: bool = False


def step_line(record: StepRecord, done: int, steps: int, width: int | None = None) -> str:
    """Return one step in one line.

    Args:
        width: columns of the terminal: the least important fields are dropped until the line fits. None, for a log
            file: all fields.
    """
    fields = _fields(record, done, steps)
    if width is None:
        return _join(fields)
    fields = [field for field in fields if not field.zero]
    for field in sorted(fields, key=lambda field: -field.rank):
        if field.rank == 0 or cell_len(_join(fields)) <= width:
            break
        fields.remove(field)
    return _join(fields)


def sampled_lines(record: StepRecord, width: int) -> tuple[str, ...]:
    """Return the first prompt of a step with its first completion and verdict, each line cut to `width` columns.

    Nothing that the model wrote acts on the terminal. A step that sampled nothing gives no line.
    """
    if not record.groups or not record.groups[0].completions:
        return ()
    group = record.groups[0]
    completion, verdict = group.completions[0], group.verdicts[0]
    word = "unjudged" if not verdict.judged else "pass" if verdict.passed else "fail"
    heading = f"  completion, {word}{', truncated' if completion.truncated else ''}  "
    room = max(10, width - len(heading))
    return (f"{'  prompt':<{len(heading)}}{_cut(group.prompt.text, room)}", heading + _cut(completion.text, room))


def percent(share: float) -> str:
    """Return a share in whole percent."""
    return f"{100 * share:.0f} %"


def _fields(record: StepRecord, done: int, steps: int) -> list[_Field]:
    """All fields in the order of the line. Those that are rarely there come last: the others stay aligned."""
    m = record.metrics
    head = _Field(f"{record.stage} {done:>3}/{steps}")
    grad = _Field(f"grad {m[known.GRAD_NORM.name]:.2f}", 7)
    trained = _rate(m, known.TOKENS_TRAINED, known.TRAIN_SECONDS)
    seconds = _Field(f"{m[known.STEP_SECONDS.name]:.1f} s", 2)
    skipped = [_Field("skipped: no gradient")] if m[known.SKIPPED_UPDATES.name] else []
    if known.REWARD.name not in m:  # it learned from demonstrations
        loss = _Field(f"loss {m[known.LOSS.name]:.4f}")
        return [head, loss, grad, _Field(f"{trained} tok/s", 8), seconds, *skipped]
    sampled = _rate(m, known.TOKENS_GENERATED, known.ROLLOUT_SECONDS)
    fields = [
        head,
        _Field(f"reward {m[known.REWARD.name]:.3f}"),
        _Field(f"pass {percent(m[known.PASS_RATE.name]):>5}", 1),
        _Field(f"no signal {percent(m[known.ZERO_SIGNAL.name]):>5}", 4),
        _Field(f"length {m[known.COMPLETION_LENGTH.name]:>5.1f}", 3),
        _Field(f"entropy {m[known.ENTROPY.name]:.2f}", 5),
        grad,
        _Field(f"sampled {sampled}, trained {trained} tok/s", 8),
        seconds,
    ]
    if known.PROBES_SECONDS.name in m:
        fields.append(_Field(f"probes {m[known.PROBES_SECONDS.name]:.1f} s", 9))
    for word, share in (("truncated", m[known.TRUNCATED.name]), ("unjudged", m[known.UNJUDGED.name])):
        fields.append(_Field(f"{word} {percent(share)}", 2, zero=not share))
    if known.REFILL_GROUPS.name in m:
        refilled = m[known.REFILL_GROUPS.name]
        fields.append(_Field(f"refilled {refilled:.0f}", 6, zero=not refilled))
    return fields + skipped


def _join(fields: list[_Field]) -> str:
    return "  ".join(field.text for field in fields)


def _rate(metrics: Mapping[str, float], tokens: Metric, seconds: Metric) -> str:
    took = metrics[seconds.name]
    return f"{metrics[tokens.name] / took:.0f}" if took > 0 else "0"


def _cut(text: str, width: int) -> str:
    """Return a text in one line of `width` columns at most: its beginning and its end, where the answer is."""
    line = " ".join(visible(text).split())
    if cell_len(line) <= width:
        return line
    head = (width - 1) // 2
    tail = set_cell_size(line[::-1], width - 1 - head)[::-1]
    return f"{set_cell_size(line, head)}…{tail}"
