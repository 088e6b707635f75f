"""The study's tables, from records made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.lab import study, tables


def evaluation(step: int, tokens: int, average: float, pass16: float, reflection: float = 0.5) -> dict[str, object]:
    return {
        "step": step, "name": f"step {step}", "sampled": tokens, "trained": tokens // 2, "kl": 0.1,
        "average": {"value": average}, "pass_at": {"16": {"value": pass16}}, "sample_tokens_mean": 14.0,
        "thoughts": {"reflection": reflection, "transition": 0.1},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tables, "RECORDS", tmp_path)
    return tmp_path


def write(folder: Path, part: str, name: str, runs: dict[int, list[dict[str, object]]]) -> None:
    (folder / part).mkdir(exist_ok=True)
    lines = [json.dumps({"seed": seed, "seconds": 1.0, "evaluations": own}) for seed, own in runs.items()]
    (folder / part / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def test_a_budget_takes_the_last_evaluation_within_it_and_nothing_between_two() -> None:
    lines = [evaluation(0, 0, 0.1, 0.5), evaluation(10, 100, 0.2, 0.6), evaluation(20, 200, 0.3, 0.7)]
    assert tables.within(lines, 199, "sampled")["step"] == 10
    assert tables.within(lines, 200, "sampled")["step"] == 20
    assert tables.within(lines, 99, "trained")["step"] == 10  # 50 of 99


def test_holm_by_hand() -> None:
    """Three p-values: 0.01·3, then 0.02·2 (0.04), then 0.5; the adjusted ones never fall."""
    assert tables.holm({"a": 0.02, "b": 0.5, "c": 0.01}) == {"c": 0.03, "a": 0.04, "b": 0.5}
    assert tables.holm({"a": 0.03, "b": 0.03}) == {"a": 0.06, "b": 0.06}
    assert tables.holm({}) == {}


def test_the_main_tables_compare_at_what_every_arm_has_spent(folder: Path) -> None:
    """GRPO spends 400 tokens by its end, the other arm 200: GRPO's evaluation at 200 is the one that counts."""
    grpo = [evaluation(0, 0, 0.1, 0.5), evaluation(10, 200, 0.2, 0.6), evaluation(20, 400, 0.4, 0.8)]
    other = [evaluation(0, 0, 0.1, 0.5), evaluation(10, 100, 0.15, 0.7), evaluation(20, 200, 0.3, 0.9)]
    write(folder, "main", "grpo", {0: grpo, 1: grpo})
    write(folder, "main", "nsr-prerl", {0: other, 1: other})
    table = tables.main_table().splitlines()
    assert table[2].startswith("| grpo | 2 | 40.0 [40.0, 40.0] | 20.0 [20.0, 20.0] | 60.0")
    assert table[3].startswith("| nsr-prerl | 2 | 30.0 [30.0, 30.0] | 30.0 [30.0, 30.0] | 90.0")
    assert "| nsr-prerl | 2 | +10.0" in tables.contrast_table()
    assert "| +30.0" in tables.contrast_table()


def test_the_dose_table_divides_by_what_was_there_before(folder: Path) -> None:
    lines = [evaluation(0, 0, 0.1, 0.5, reflection=0.1), evaluation(20, 100, 0.12, 0.5, reflection=0.4)]
    write(folder, "dose", "nsr-prerl-at-3e-4", {100: lines})
    row = tables.dose_table().splitlines()[2]
    assert row.startswith("| nsr-prerl | 3e-4 | 1 | 0.100 | ×4.0 | ×1.0 | 12.0 |")


def test_every_arm_runs_equally_often_in_tuning_and_main() -> None:
    for part in ("tuning", "main"):
        jobs = study.jobs_of(part)
        runs = {arm: sum(job.arm.split("-at-")[0] == arm for job in jobs) for arm in study.ARMS}
        assert len(set(runs.values())) == 1
        assert len({(job.arm, job.seed) for job in jobs}) == len(jobs)


def test_the_study_trains_on_other_problems_than_it_evaluates_on() -> None:
    from prerlkit.recipe.load import load

    data = load("reach_dsrl").recipe.data
    assert data.train.settings.get("part", "train") == "train"
    assert data.eval.settings["part"] == "eval"


def test_the_page_has_the_tables_of_the_records() -> None:
    """`python -m benchmarks.lab tables` writes them."""
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.generated(page) == page
    assert page.count("<!-- table: ") == len(tables.TABLES)
