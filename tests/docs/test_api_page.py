"""The example of docs/api.md, run as it stands on a tiny model."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ruamel.yaml import YAML

import prerlkit

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


def test_every_public_function_is_in_the_table_with_parameters_that_it_has():
    rows = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(rows) == set(prerlkit.__all__) - {"__version__"}
    for name, written in rows.items():
        parameters = inspect.signature(getattr(prerlkit, name)).parameters
        named = [word.split("=")[0].strip().lstrip("*") for word in written.split(",")]
        assert [word for word in named if word and word != "…" and word not in parameters] == [], name


def test_the_page_lists_every_field_of_a_request():
    from prerlkit.evaluation.request import EvalRequest

    page = PAGE.read_text(encoding="utf-8")
    row = page.split("| what is asked |")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", row)) == set(EvalRequest.model_fields)
