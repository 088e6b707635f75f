"""Names of other tools: each leads to a key that exists, whose description and whose page name it back."""

from __future__ import annotations

import importlib.util
import re
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from prerlkit.errors import UsageError
from prerlkit.recipe.load import load
from prerlkit.recipe.peers import DIFFERENT, OURS, PEERS
from prerlkit.recipe.schema import Recipe

PAGES = Path(__file__).parents[2] / "docs" / "site_pages.py"
DESCRIBED = {key for key in PEERS if key != "adapter"}
"""`adapter` is a section: what describes it is its class."""


def models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in models(argument)]


def fields(path: str) -> list[FieldInfo]:
    """The fields at `path`; several where a union's members share its name."""
    inside: list[type[BaseModel]] = [Recipe]
    found: list[FieldInfo] = []
    for part in path.split("."):
        if part == "NAME":
            continue
        found = [model.model_fields[part] for model in inside if part in model.model_fields]
        inside = [model for field in found for model in models(field.annotation)]
    return found


@pytest.mark.parametrize("key", PEERS)
def test_what_a_peers_name_leads_to_is_a_key_of_the_schema(key):
    assert fields(key)


@pytest.mark.parametrize("key", sorted(DESCRIBED))
def test_the_description_of_a_key_names_what_peers_call_it(key):
    descriptions = [field.description or "" for field in fields(key)]
    for name in PEERS[key].split():
        assert any(f"`{name}`" in text or f".{name}`" in text for text in descriptions), name


def test_the_page_lists_them_all():
    spec = importlib.util.spec_from_file_location("site_pages", PAGES)
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    table = pages.recipe_keys().partition("#elsewhere }")[2]
    listed = dict(re.findall(r"^\| `(\S+)` \| `(\S+)` \|", table, re.MULTILINE))
    assert listed == {name: key for key, names in PEERS.items() for name in names.split()}


def test_a_name_leads_to_one_key_and_no_note_is_left_over():
    assert len(OURS) == sum(len(names.split()) for names in PEERS.values())
    assert set(DIFFERENT) <= set(OURS)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "rollout.num_generations=4",
            "rollout.num_generations: unknown key; `num_generations` is called `rollout.group_size` here",
        ),
        ("num_generations=4", "num_generations: unknown key; `num_generations` is called `rollout.group_size` here"),
        ("stages.0.rollout.n=4", "`n` is called `rollout.group_size` here"),
        (
            "stages.0.optimizer.num_iterations=4",
            "`optimizer.updates_per_rollout` here (each of its updates takes a share",
        ),
        (
            "stages.0.objective.loss.epsilon_high=0.28",
            "`epsilon_high` is called `stages.NAME.objective.loss.high` here",
        ),
        ("stages.0.objective.beta=0.04", "`beta` is called `stages.NAME.objective.kl.coefficient` here"),
        ("adapter.r=8", "adapter.r: unknown key; `r` is called `adapter.rank` here"),
        ("rollout.vllm.gpu_memory_utilization=0.5", "is called `rollout.vllm.memory_share` here"),
        ("model.load_in_4bit=true", "`load_in_4bit` is called `model.quantization` here"),
    ],
)
def test_an_unknown_key_that_is_a_peers_name_is_answered_with_ours(override, said):
    with pytest.raises(UsageError) as error:
        load("smoke", [override])
    assert said in error.value.message
    assert "did you mean" not in error.value.message


def test_a_key_of_ours_is_no_peers_name_at_its_own_place():
    """`optimizer.epsilon` is AdamW's; TRL's `epsilon` is a clip bound only where we have no such key."""
    assert load("smoke", ["optimizer.epsilon=1e-7"]).recipe.optimizer.epsilon == 1e-7
