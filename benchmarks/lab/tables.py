"""Tables of the study, as Markdown, from the records alone: means over seeds with 95 % intervals (Student's t)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lab.study import ARMS, RECORDS, records
from prerlkit.evaluation import repetitions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results.md"
_TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Evaluation = Mapping[str, Any]
Runs = Mapping[int, Sequence[Evaluation]]
"""Evaluations by seed."""


def runs(part: str, arm: str) -> Runs:
    """Return the evaluations of the finished runs of an arm, by seed."""
    return {line["seed"]: line["evaluations"] for line in records(RECORDS / part / f"{arm}.jsonl")}


def within(evaluations: Sequence[Evaluation], budget: float, spent: str) -> Evaluation:
    """Return the last evaluation at which at most `budget` tokens were spent; nothing is interpolated."""
    return [line for line in evaluations if line[spent] <= budget][-1]


def budget_of(arms: Mapping[str, Runs], seed: int, spent: str) -> float:
    """Return the most tokens that every arm had spent at the end of its run with that seed."""
    return min(own[seed][-1][spent] for own in arms.values() if seed in own)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted for their number (Holm, 1979)."""
    adjusted, worst = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = worst
    return adjusted


def average(line: Evaluation) -> float:
    """avg@16 in percent."""
    return 100 * float(line["average"]["value"])


def solved(line: Evaluation) -> float:
    """pass@16 in percent."""
    return 100 * float(line["pass_at"]["16"]["value"])


def thought(kind: str) -> Callable[[Evaluation], float]:
    """Return what reads the thoughts of that kind per answer."""
    return lambda line: float(line["thoughts"][kind])


def of(values: Sequence[float], digits: int = 1) -> str:
    """Return `mean [low, high]`."""
    found = repetitions.mean(values)
    if found.interval is None:
        return f"{found.value:.{digits}f}"
    low, high = found.interval
    return f"{found.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is a name, the others are numbers."""
    line = "| " + " | ".join(head) + " |\n|---|" + "---:|" * (len(head) - 1) + "\n"
    return line + "".join("| " + " | ".join(row) + " |\n" for row in rows)


def dose_table() -> str:
    """Every warm-up alone: what it did to the policy."""
    head = ("warm-up", "rate", "seeds", "KL, nats/token", "reflection", "transition", "avg@16", "pass@16", "tokens")
    rows = []
    for name, own in sorted(_of_part("dose").items(), key=lambda item: (item[0][0], float(item[0][1]))):
        ends = [lines[-1] for lines in own.values()]
        starts = [lines[0] for lines in own.values()]
        ratios = [_ratio(starts, ends, kind) for kind in ("reflection", "transition")]
        figures = [of([figure(line) for line in ends]) for figure in (average, solved)]
        tokens = sum(line["sample_tokens_mean"] for line in ends) / len(ends)
        kl = sum(line["kl"] for line in ends) / len(ends)
        rows.append((*name, str(len(own)), f"{kl:.3f}", *(f"×{r:.1f}" for r in ratios), *figures, f"{tokens:.0f}"))
    return markdown(head, rows)


def tuning_table() -> str:
    """avg@16 at the end, by arm and the second stage's rate."""
    found = _of_part("tuning")
    rates = sorted({rate for _, rate in found}, key=float)
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in found):
        own = [found.get((arm, rate), {}) for rate in rates]
        rows.append((arm, *(of([average(lines[-1]) for lines in runs_.values()]) if runs_ else "–" for runs_ in own)))
    return markdown(("arm", *rates), rows)


def main_table() -> str:
    """Every arm at its end, and at the tokens that all arms of its seed had spent."""
    arms = _main()
    head = ("arm", "seeds", "avg@16 at the end", "at equal training tokens", "pass@16 at equal sampling tokens",
            "reflection", "tokens per answer")  # fmt: skip
    rows = []
    for name, own in arms.items():
        ends = [lines[-1] for lines in own.values()]
        equal = [average(within(lines, budget_of(arms, seed, "trained"), "trained")) for seed, lines in own.items()]
        sampled = [solved(within(lines, budget_of(arms, seed, "sampled"), "sampled")) for seed, lines in own.items()]
        figures = (of(list(map(average, ends))), of(equal), of(sampled), of(list(map(thought("reflection"), ends)), 2))
        rows.append((name, str(len(own)), *figures, of([line["sample_tokens_mean"] for line in ends])))
    return markdown(head, rows)


def warmup_table() -> str:
    """What the warm-up of every arm did by its end, when its KL was reached."""
    head = ("warm-up", "seeds", "steps", "KL, nats/token", "reflection", "transition", "avg@16 before", "after",
            "pass@16 after")  # fmt: skip
    rows = []
    for name, own in _main().items():
        pairs = [(lines[0], line) for lines in own.values() for line in lines if line["name"] == WARMED]
        if not pairs:
            continue
        before, after = [first for first, _ in pairs], [last for _, last in pairs]
        times = [
            "×" + of([thought(kind)(last) / thought(kind)(first) for first, last in pairs])
            for kind in ("reflection", "transition")
        ]
        figures = (of(list(map(average, before))), of(list(map(average, after))), of(list(map(solved, after))))
        kl = of([last["kl"] for last in after], 3)
        rows.append((name, str(len(pairs)), of([last["step"] for last in after]), kl, *times, *figures))
    return markdown(head, rows)


def contrast_table() -> str:
    """Every arm against GRPO, seed by seed: avg@16 at equal training tokens, pass@16 at equal sampling tokens.

    The last column is exploratory and has no p-value: avg@16, each arm at its own end.
    """
    arms = _main()
    base = arms["grpo"]
    found: dict[str, list[repetitions.Contrast]] = {}
    for name, own in arms.items():
        if name != "grpo":
            pairs = sorted(set(own) & set(base))
            found[name] = [
                repetitions.paired([
                    figure(within(own[seed], budget_of(arms, seed, spent), spent))
                    - figure(within(base[seed], budget_of(arms, seed, spent), spent))
                    for seed in pairs
                ])
                for figure, spent in ((average, "trained"), (solved, "sampled"))
            ]  # fmt: skip
    others = {
        f"{n} {i}": c.p for n, cs in found.items() for i, c in enumerate(cs) if (n, i) != PRIMARY and c.p is not None
    }
    adjusted = holm(others)
    rows = []
    for name, contrasts in found.items():
        cells = [name, str(contrasts[0].pairs)]
        for place, contrast in enumerate(contrasts):
            p = contrast.p if (name, place) == PRIMARY else adjusted.get(f"{name} {place}")
            cells += [_difference(contrast), "–" if p is None else f"{p:.3f}"]
        own = arms[name]
        ends = [average(own[seed][-1]) - average(base[seed][-1]) for seed in sorted(set(own) & set(base))]
        cells.append(_difference(repetitions.paired(ends)))
        rows.append(cells)
    head = ("− grpo", "pairs", "avg@16, points", "p", "pass@16, points", "p", "avg@16 at the end")
    return markdown(head, rows)


def axes_table() -> str:
    """What changes when the base model or the switch changes, next to the packaged base."""
    main = {arm: runs("main", arm) for arm in ("nsr-prerl", "nsr-rl", "grpo")}
    rows = [_axis("packaged", main["nsr-prerl"], main["nsr-rl"], main["nsr-prerl"], main["grpo"])]
    if switched := runs("axes", "continue"):
        rows.append(_axis("packaged, `continue`", switched, {}, switched, main["grpo"]))
    ending = "-nsr-prerl"
    for name in sorted(file.stem.removesuffix(ending) for file in (RECORDS / "axes").glob(f"*{ending}.jsonl")):
        own = {arm: runs("axes", f"{name}-{arm}") for arm in ("nsr-prerl", "nsr-rl", "dsrl", "grpo", "nsr-rl-further")}
        rows.append(_axis(name, *(own[arm] for arm in ("nsr-prerl", "nsr-rl", "dsrl", "grpo"))))
        if further := own["nsr-rl-further"]:
            rows.append(_axis(f"{name}, NSR-RL further", own["nsr-prerl"], further, {}, {}))
    head = ("base", "seeds", "avg@16", "reflection", "after NSR-PreRL", "could show", "after NSR-RL",
            "avg@16, PreRL − RL", "with GRPO after it", "GRPO alone", "difference")  # fmt: skip
    return markdown(head, rows)


def _axis(name: str, prerl: Runs, conditional: Runs, dsrl: Runs, grpo: Runs) -> tuple[str, ...]:
    """Return a row: the base before, both warm-ups at their ends, both whole runs, and the paired differences.

    `could show` is the smallest × whose 95 % interval on the logarithm's scale would have been above 1.
    """
    starts = [lines[0] for lines in prerl.values()]
    before = (of(list(map(average, starts))), of(list(map(thought("reflection"), starts)), 3))
    warmed = [{seed: line for seed, (_, line) in _warmed(own).items()} for own in (prerl, conditional)]
    times = [math.log(ratio) for ratio in _times(prerl)]
    interval = repetitions.mean(times).interval
    shown = "–" if interval is None else f"×{math.exp((interval[1] - interval[0]) / 2):.1f}"
    ends = [{seed: lines[-1] for seed, lines in own.items()} for own in (dsrl, grpo)]
    both = sorted(set(ends[0]) & set(ends[1]))
    finals = (of([average(own[seed]) for seed in both]) if both else "–" for own in ends)
    return (name, str(len(starts)), *before, _effect(prerl), shown, _effect(conditional), _paired(*warmed), *finals,
            _paired(*ends))  # fmt: skip


def _paired(first: Mapping[int, Evaluation], second: Mapping[int, Evaluation]) -> str:
    """Return first − second in avg@16, over the seeds that both have."""
    both = sorted(set(first) & set(second))
    if not both:
        return "–"
    return _difference(repetitions.paired([average(first[seed]) - average(second[seed]) for seed in both]))


def _warmed(warmups: Runs) -> dict[int, tuple[Evaluation, Evaluation]]:
    """Return the evaluations before and after a warm-up, by seed."""
    return {seed: (lines[0], line) for seed, lines in warmups.items() for line in lines if line["name"] == WARMED}


def _times(warmups: Runs) -> list[float]:
    """Return by how much a warm-up multiplied reflection, for each seed."""
    reflection = thought("reflection")
    return [reflection(last) / reflection(first) for first, last in _warmed(warmups).values()]


def _effect(warmups: Runs) -> str:
    """Return what a warm-up did: reflection ×, seed by seed where they are few, KL and avg@16."""
    ends = [last for _, last in _warmed(warmups).values()]
    if not ends:
        return "–"
    times = _times(warmups)
    kl, right = (sum(map(figure, ends)) / len(ends) for figure in (_kl, average))
    shown = of(times) if len(times) > 5 else " · ".join(f"{ratio:.1f}" for ratio in times)
    return f"×{shown}, {kl:.3f}, {right:.1f}"


def _kl(line: Evaluation) -> float:
    return float(line["kl"])


WARMED = "after warmup"
"""The name of the evaluation at a warm-up's end."""
PRIMARY = ("nsr-prerl", 0)
"""The contrast that was named before the study began: its p-value stands alone; the others share Holm's correction."""


def _main() -> dict[str, Runs]:
    return {arm: found for arm in ARMS if (found := runs("main", arm))}


def _of_part(part: str) -> dict[tuple[str, str], Runs]:
    """Runs of a part whose files are called `<name>-at-<rate>.jsonl`."""
    names = sorted(file.stem for file in (RECORDS / part).glob("*.jsonl"))
    return {(name.split("-at-")[0], name.split("-at-")[1]): runs(part, name) for name in names}


def _ratio(starts: Sequence[Evaluation], ends: Sequence[Evaluation], kind: str) -> float:
    before = sum(map(thought(kind), starts))
    return sum(map(thought(kind), ends)) / before if before else float("nan")


def _difference(contrast: repetitions.Contrast) -> str:
    if contrast.interval is None:
        return f"{contrast.value:+.1f}"
    return f"{contrast.value:+.1f} [{contrast.interval[0]:+.1f}, {contrast.interval[1]:+.1f}]"


TABLES: Mapping[str, Callable[[], str]] = {
    "dose": dose_table,
    "tuning": tuning_table,
    "warmups": warmup_table,
    "main": main_table,
    "contrasts": contrast_table,
    "axes": axes_table,
}


def generated(page: str) -> str:
    """Return the text of a page with its tables as the records have them."""
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", page)
