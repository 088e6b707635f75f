"""`examples/quickstart.ipynb`: its cells run in order, and it is stored without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
import pytest

import prerlkit

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
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    names: dict = {}
    try:
        for cell in cells():
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}:{cell['id']}", "exec"), names)
    finally:
        matplotlib.use(before)
    out, err = capfd.readouterr()
    assert err == ""
    assert [str(one.message) for one in recwarn] == []
    assert "right at one attempt: " in out
    assert len(re.findall(r"^(?:warmup|rl)   [12]/2  reward", out, re.MULTILINE)) == 4
    assert [line.get_label() for line in names["panel"].get_lines()] == ["warmup", "rl"]

    shown = names["summary"]
    assert re.fullmatch(r"<Summary completed, 4 steps in \d+ s, held-out [\d.]+ % → [\d.]+ %>", repr(shown))
    html = shown._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 2
    for cell in ("after warmup", "avg@8", "pass@8"):
        assert cell in html


def test_progress_and_a_callback_exclude_each_other(tmp_path):
    from prerlkit.errors import UsageError
    from prerlkit.train.callbacks import SilentCallback

    with pytest.raises(UsageError, match="exclude each other"):
        prerlkit.run("reach_dsrl", tmp_path / "run", callback=SilentCallback(), progress=True)
    assert not (tmp_path / "run").exists()
