"""Recipes for a card fit it, and their headers say what their plans say (`python -m benchmarks.recipes` plans all)."""

from __future__ import annotations

import re

import pytest
import transformers

from prerlkit.plan.config import find_config
from prerlkit.plan.device import card
from prerlkit.plan.header import BLOCK, header_lines
from prerlkit.plan.plan import make_plan
from prerlkit.recipe.load import load, packaged

HEADS = {name: path.read_text(encoding="utf-8").split("\nname:")[0] for name, path in packaged().items()}
CARDS = {name: found[1] for name, head in HEADS.items() if (found := re.search(r"--gpu (\S+)", head))}
PLANNED = ("regex_format", "math_dsrl", "gsm8k_dsrl", pytest.param("math_dsrl_qwen3_5", marks=pytest.mark.slow))
"""Each of another model size or engine; the rest would take minutes."""
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


@pytest.mark.parametrize("name", PLANNED)
def test_a_recipe_fits_the_card_that_it_names(name):
    recipe = load(name).recipe
    plan = make_plan(recipe, find_config(recipe.model), card(CARDS[name]))
    assert plan.fits
    needed, phase = re.search(r"the plan says (\d+\.\d) GiB in the tightest phase \(([\w -]+)\)", HEADS[name]).groups()
    assert phase == plan.tightest.name
    if transformers.__version__.startswith(HEADS_PLANNED_WITH):
        assert f"{plan.needed / 2**30:.1f}" == needed
        assert BLOCK.search(HEADS[name] + "\n")[0] == header_lines(recipe, plan)
    else:
        assert plan.needed / 2**30 == pytest.approx(float(needed), rel=0.03)


def test_the_recipes_beside_math_dsrl_differ_in_their_stages_alone():
    """So what doesn't depend on stages, vLLM's share first of all, is planned for them too."""
    whole = load("math_dsrl").recipe
    for name in ("math_grpo", "math_hybrid", "math_nsr_prerl", "math_nsr_rl", "math_psr_prerl"):
        own = {"name": whole.name, "description": whole.description, "stages": whole.stages}
        assert load(name).recipe.model_copy(update=own) == whole
