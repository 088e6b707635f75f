"""Recipes for a card fit it, and their headers say what their plans say (`python -m benchmarks.recipes` plans all)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers

from prerlkit.plan.config import find_config
from prerlkit.plan.device import card
from prerlkit.plan.header import BLOCK, TABLE, header_lines, rounded, table_row
from prerlkit.plan.hours import guess_hours
from prerlkit.plan.plan import make_plan
from prerlkit.plan.traces import Traces
from prerlkit.recipe.load import load, packaged

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")
HEADS = {name: path.read_text(encoding="utf-8").split("\nname:")[0] for name, path in packaged().items()}
CARDS = {name: found[1] for name, head in HEADS.items() if (found := re.search(r"--gpu (\S+)", head))}
PLANNED = ("regex_format", "math_dsrl", "gsm8k_dsrl")
"""Each of another model size or engine. The rest takes minutes and is marked slow."""
TABLE_ROWS = {row.split("`")[1]: row for row in TABLE.search(PAGE)[0].splitlines() if row.startswith("| `")}
HEADS_PLANNED_WITH = "5.24."
"""The transformers of the headers' figures. Others copy more or less: 5.16 makes 5.34 GiB of regex_format's 5.2."""


def test_every_recipe_for_a_card_names_it_and_its_bytes():
    assert len(CARDS) >= 11
    for name, gpu in CARDS.items():
        needed, phase = re.search(
            r"the plan says (\d+\.\d) GiB in the tightest phase \(([\w -]+)\)", HEADS[name]
        ).groups()
        assert 2**30 * float(needed) < card(gpu).memory
        assert phase
        assert "Not run" in HEADS[name]


def test_the_table_has_a_row_for_every_recipe_for_a_card_and_says_what_its_header_says():
    assert list(TABLE_ROWS) == sorted(CARDS)
    for name, row in TABLE_ROWS.items():
        _, _, model, gpu, _, device, _, host, _, hours, _ = (cell.strip() for cell in row.split("|"))
        head = " ".join(HEADS[name].replace("#", "").split())
        needed, memory, phase = re.fullmatch(r"(\S+) of (\S+), ([\w -]+)", device).groups()
        assert f"the plan says {needed} GiB in the tightest phase ({phase})" in head
        assert f"{host.split()[0]} GiB of the host's memory" in head
        assert f"at most about {hours} on an {gpu} by data sheet" in head
        assert gpu == CARDS[name]
        assert memory == f"{card(gpu).memory / 2**30:.1f}"
        assert load(name).recipe.model.id.endswith(model.split(",")[0])


@pytest.mark.parametrize("name", [n if n in PLANNED else pytest.param(n, marks=pytest.mark.slow) for n in CARDS])
def test_a_recipe_fits_the_card_that_it_names(name):
    recipe = load(name).recipe
    plan = make_plan(recipe, find_config(recipe.model), card(CARDS[name]))
    assert plan.fits
    needed, phase = re.search(r"the plan says (\d+\.\d) GiB in the tightest phase \(([\w -]+)\)", HEADS[name]).groups()
    assert phase == plan.tightest.name
    if transformers.__version__.startswith(HEADS_PLANNED_WITH):
        assert f"{plan.needed / 2**30:.1f}" == needed
        assert BLOCK.search(HEADS[name] + "\n")[0] == header_lines(recipe, plan)
        assert TABLE_ROWS[name] + "\n" == table_row(name, recipe, plan)
    else:
        assert plan.needed / 2**30 == pytest.approx(float(needed), rel=0.03)


def test_the_recipes_beside_math_dsrl_differ_in_their_stages_alone():
    """So what doesn't depend on stages, vLLM's share first of all, is planned for them too."""
    whole = load("math_dsrl").recipe
    for name in ("math_grpo", "math_hybrid", "math_nsr_prerl", "math_nsr_rl", "math_psr_prerl"):
        own = {"name": whole.name, "description": whole.description, "stages": whole.stages}
        assert load(name).recipe.model_copy(update=own) == whole


@pytest.mark.slow
def test_what_recipes_say_of_an_8_bit_copy_and_of_qwen3_4b_on_smaller_cards():
    recipe = load("math_dsrl", ["rollout.vllm.quantization=fp8"]).recipe
    config = find_config(recipe.model)
    traces = Traces(config, "cuda")
    for name, gpu in {"math_dsrl": "rtx4090", "math_dsrl_16gb": "rtx4060ti-16", "math_dsrl_12gb": "rtx4070"}.items():
        plan = make_plan(recipe, config, card(gpu), traces)
        head = " ".join(HEADS[name].replace("#", "").split())
        if name == "math_dsrl_12gb":
            assert not plan.fits
            assert "Qwen3-4B does not fit" in head
            continue
        assert plan.fits
        assert f"{int(plan.engine.at_once)} answers at once" in head
        assert f"at most about {rounded(guess_hours(recipe, plan))} hours" in head
        assert f"{plan.needed / 2**30:.1f} GiB" in head
