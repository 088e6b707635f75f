"""Models of many families go all the way, or are refused before their first step; docs/models.md says which."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _module(name: str):
    """A file next to this one: tests are no package."""
    spec = importlib.util.spec_from_file_location(f"architectures_{name}", HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


models, tour, trial = (_module(name) for name in ("table", "tour", "trial"))
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
