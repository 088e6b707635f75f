"""Models of many families go all the way, or are refused before their first step; docs/models.md says which."""

from __future__ import annotations

import json
from pathlib import Path

import architectures_table as models
import architectures_tour as tour
import architectures_trial as trial
import pytest

HERE = Path(__file__).resolve().parent


RECORDED = json.loads((HERE / "outcomes.json").read_text(encoding="utf-8"))
ROWS = [
    pytest.param(row, id=row.name, marks=() if row.always else pytest.mark.slow)
    for row in models.ROWS
    if row.name in RECORDED
]


@pytest.mark.parametrize("row", ROWS)
def test_a_model_goes_all_the_way_or_is_refused_before_its_first_step(row, tmp_path, make_tokenizer):
    models.write(row, tmp_path / "model", make_tokenizer())
    done = trial.go(tmp_path / "model", tmp_path / "run", row.architecture)
    assert tour.outcome(done) == RECORDED[row.name]
    if done.refused:
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
    else:
        assert done.merged < trial.EXACT


def test_the_page_lists_what_was_recorded():
    page = (HERE.parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    assert tour.table(RECORDED) in page
