"""`examples/quickstart.ipynb`: its cells run in order, and it is stored without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import prerlkit
from prerlkit.plan.config import find_config
from prerlkit.plan.device import card, dtype_note
from prerlkit.plan.header import rounded
from prerlkit.plan.hours import guess_hours
from prerlkit.plan.plan import make_plan
from prerlkit.recipe.load import load

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_it_is_stored_without_outputs():
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert len(code) > 3
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells()}) == len(cells())


def test_its_cells_run_in_order_and_print_no_foreign_line(tmp_path, monkeypatch, capfd, recwarn):
    """With fewer steps; nothing else is changed."""
    real = prerlkit.run

    def run(*args, overrides, **options):
        fewer = {"stages.warmup.steps": 2, "stages.rl.steps": 2, "rollout.prompts_per_step": 4}
        return real(*args, overrides={**overrides, **fewer, "evaluation.prompts": 8}, **options)

    monkeypatch.setattr(prerlkit, "run", run)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in cells():
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}:{cell['id']}", "exec"), names)
    out, err = capfd.readouterr()
    assert err == ""
    assert [str(one.message) for one in recwarn] == []
    assert "right at one attempt: " in out
    assert len(re.findall(r"^(?:warmup|rl)   [12]/2  reward", out, re.MULTILINE)) == 4
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in names["figure"].axes]
    assert ("step", "accuracy (%)") in labels
    assert ("step", "completion length (tokens)") in labels
    assert names["figure"]._repr_png_().startswith(b"\x89PNG")
    assert repr(names["run"]) == "<Run reach_dsrl, seed 0, completed, 4 steps, runs/notebook>"
    assert "<script" not in names["run"]._repr_html_()

    shown = names["summary"]
    assert re.fullmatch(r"<Summary completed, 4 steps in \d+ s, held-out [\d.]+ % → [\d.]+ %>", repr(shown))
    html = shown._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 2
    for cell in ("after warmup", "avg@8", "pass@8"):
        assert cell in html


def test_the_recipe_for_a_t4_fits_it():
    """As the notebook says: 15 GB, no bfloat16, the bytes of the plan, at most so many hours."""
    (text,) = ["".join(cell["source"]) for cell in cells() if cell["id"] == "t4"]
    name, setting = re.search(r"prerlkit run (\S+) --set (\S+)", text).groups()
    recipe, t4 = load(name, [setting]).recipe, card("t4")
    assert dtype_note(load(name).recipe.model.dtype, t4) != ""
    assert dtype_note(recipe.model.dtype, t4) == ""
    plan = make_plan(recipe, find_config(recipe.model), t4)
    assert plan.fits
    assert plan.needed / 2**30 == pytest.approx(float(re.search(r"([\d.]+) GiB in its", text)[1]), rel=0.03)
    assert rounded(guess_hours(recipe, plan)) == re.search(r"at most (\d+) hours", text)[1]


def test_progress_and_a_callback_exclude_each_other(tmp_path):
    from prerlkit.errors import UsageError
    from prerlkit.train.callbacks import SilentCallback

    with pytest.raises(UsageError, match="exclude each other"):
        prerlkit.run("reach_dsrl", tmp_path / "run", callback=SilentCallback(), progress=True)
    assert not (tmp_path / "run").exists()
