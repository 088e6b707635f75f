"""The example of docs/api.md, run as it stands on a tiny model."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_example_runs_as_it_stands(tiny_recipe, tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with Path("my_recipe.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tiny_recipe(), file)
    exec(compile(block, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("completed ['")
    assert "LlamaForCausalLM <end>" in printed
    assert Path("evals/one/results.json").is_file()


def test_the_page_lists_every_public_function():
    """A row of the table may hold several functions; each stands in code."""
    import prerlkit

    table = PAGE.read_text(encoding="utf-8").split("| function | command |")[1].split("\n\n")[0].splitlines()
    table = [line.split("|")[1] for line in table if line.startswith("| `")]
    listed = {name for cell in table for name in re.findall(r"`(\w+)", cell)}
    assert listed == {name for name in prerlkit.__all__ if not name.startswith("_")}


def test_the_page_lists_every_field_of_a_request():
    from prerlkit.evaluation.request import EvalRequest

    page = PAGE.read_text(encoding="utf-8")
    row = page.split("| what is asked |")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", row)) == set(EvalRequest.model_fields)
