"""Wrong recipes, and the line that answers each: the nearest right key or value, in words of ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import prerlkit
from prerlkit.errors import UsageError
from prerlkit.recipe.explain import _paths
from prerlkit.recipe.load import load
from prerlkit.recipe.peers import DIFFERENT, OURS, VALUES, WITHOUT_EQUAL
from prerlkit.recipe.schema import Recipe
from prerlkit.verify import registry


def said(*overrides: str) -> list[str]:
    """Return the lines about a recipe that is wrong, without the override that each begins with."""

    def check() -> None:
        for use in load("smoke", overrides).recipe.verifiers:
            registry.make(use.name, use.settings)

    with pytest.raises(UsageError) as error:
        check()
    lines = error.value.message.splitlines()
    return [re.sub("^--set .*?: (?=[a-z_\\[\\]0-9.]+: )", "", line) for line in lines]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stages.0.objective=gpro", "stages[0].objective: 'gpro' is not a preset; did you mean \"grpo\"?"),
        ("stages.0.objective=Dr_GRPO", "stages[0].objective: 'Dr_GRPO' is not a preset; did you mean \"dr-grpo\"?"),
        ("stages.0.objective=ppo", "stages[0].objective: 'ppo' is not a preset; did you mean \"grpo\"?"),
        ("stages.0.objective.loss=clpi", 'did you mean "clip"?'),
        ("stages.0.schedule=cosin", "got 'cosin'; did you mean \"cosine\"?"),
        ("rollout.engine=vlm", "got 'vlm'; did you mean \"vllm\"?"),
        ("model.dtype=bf16", "got 'bf16'; did you mean \"bfloat16\"?"),
        ("model.quantization=4bit", "got '4bit'; did you mean \"nf4\"?"),
        ("optimizer.name=adamw_torch", "got 'adamw_torch'; did you mean \"adamw\"?"),
        ("learning_rate=1e-4", "learning_rate: unknown key; did you mean `stages.NAME.learning_rate`?"),
        ("steps=4", "steps: unknown key; did you mean `stages.NAME.steps`?"),
        ("group_size=4", "did you mean `rollout.group_size` or `stages.NAME.rollout.group_size`?"),
        ("gradient_accumulation_steps=4", "`gradient_accumulation_steps` is called `memory.microbatch_tokens` here"),
        ("rollout.max_seq_length=4", "here prompts have `rollout.max_prompt_tokens`, completions"),
        ("verifiers=[math]", "verifiers[0]: expected keys and values, got 'math'"),
        ("verifiers=[{name: mth}]", 'did you mean "math"?'),
        ("verifiers=[{name: regex, settings: {pattern: '('}}]", "setting pattern: no regular expression: missing )"),
        ("verifiers=[{name: regex, settings: {}}]", "give must_match, must_not_match or pattern"),
        ("verifiers=[{name: math, settings: {extarct: boxed}}]", 'no setting extarct; did you mean "extract"?'),
    ],
)
def test_the_nearest_right_word_is_named(override, line):
    (found,) = said(override)
    assert line in found
    assert "Value error" not in found


def test_what_is_misspelled_comes_before_what_is_missing_and_replaces_it():
    lines = said("stages=[{nmae: a, lr: 1e-4, objective: grpo}]")
    assert [line.partition(";")[0] for line in lines] == [
        "stages[0].nmae: unknown key",
        "stages[0].lr: unknown key",
        "stages[0].steps: this key is required",
    ]


def test_every_name_of_a_peer_has_one_answer_whose_keys_exist():
    assert not set(WITHOUT_EQUAL) & (set(OURS) | set(DIFFERENT))
    known = set(_paths(Recipe))
    for text in WITHOUT_EQUAL.values():
        for key in re.findall("`([a-z_.NAME]+)`", text):
            assert key in known, key
    assert not set(VALUES) & set(VALUES.values())


def test_one_function_alone_reads_the_messages_of_pydantic():
    """Elsewhere the kind of the error ("Value error, ") would be printed with them."""
    reading = [
        path.name
        for path in Path(prerlkit.__file__).parent.rglob("*.py")
        if re.search(r"""\[['"]msg['"]\]""", path.read_text(encoding="utf-8"))
    ]
    assert reading == ["settings.py"]
