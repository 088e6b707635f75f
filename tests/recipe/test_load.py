"""From a file to a frozen recipe: inheritance, presets, overrides, and a mistake's file, line, key and nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from prerlkit.errors import UsageError
from prerlkit.objective.choices import Clip, Constant
from prerlkit.recipe.load import dump, load

GOOD = """\
name: mine
model: {id: some/model}
adapter: {rank: 8}
data:
  train: {kind: file, path: rows.jsonl}
  eval: {kind: held_out, rows: 10}
verifiers: [{name: math}]
rollout:
  group_size: 4
  max_new_tokens: 64
stages:
  - name: warmup
    objective: nsr-prerl
    steps: 5
    learning_rate: 1e-5
  - name: rl
    objective: {preset: grpo, loss: {high: 0.3}}
    steps: 10
    learning_rate: 1.0e-4
    rollout: {group_size: 16}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        load(write(folder, text), overrides)
    return str(error.value)


def test_stages_inherit_the_recipes_sections_and_override_key_by_key(tmp_path):
    warmup, rl = load(write(tmp_path, GOOD)).recipe.stages
    assert (warmup.adapter.rank, rl.adapter.rank) == (8, 8)
    assert (warmup.rollout.group_size, rl.rollout.group_size) == (4, 16)
    assert (warmup.rollout.max_new_tokens, rl.rollout.max_new_tokens) == (64, 64)


def test_a_preset_is_its_five_choices_and_an_override_keeps_the_rest(tmp_path):
    (objective,) = load(write(tmp_path, GOOD)).recipe.stages[1].objective
    assert (objective.space, objective.samples, objective.advantage.kind) == ("conditional", "all", "group_std")
    assert objective.loss == Clip(low=0.2, high=0.3, dual=10.0)


def test_1e_minus_5_is_a_number(tmp_path):
    """YAML 1.1 reads it as text."""
    assert load(write(tmp_path, GOOD)).recipe.stages[0].learning_rate == 1e-5


def test_a_resolved_recipe_loads_as_an_equal_one(tmp_path):
    recipe = load(write(tmp_path, GOOD)).recipe
    assert load(write(tmp_path, dump(recipe))).recipe == recipe


def test_a_recipe_is_frozen(tmp_path):
    recipe = load(write(tmp_path, GOOD)).recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=3", lambda r: r.seed == 3),
        ("stages.0.steps=7", lambda r: r.stages[0].steps == 7),
        ("stages[1].steps=8", lambda r: r.stages[1].steps == 8),
        ("stages.rl.learning_rate=2e-4", lambda r: r.stages[1].learning_rate == 2e-4),
        ("stages.rl.objective.loss.high=0.5", lambda r: r.stages[1].objective[0].loss == Clip(high=0.5)),
        ("stages.warmup.objective.coefficient=0.5", lambda r: r.stages[0].objective[0].coefficient == 0.5),
        (
            "stages.warmup.objective.advantage=constant",
            lambda r: r.stages[0].objective[0].advantage == Constant(),
        ),
        ("rollout.group_size=2", lambda r: [s.rollout.group_size for s in r.stages] == [2, 16]),
        ("memory.gradient_checkpointing=true", lambda r: r.memory.gradient_checkpointing),
        ("verifiers.math.settings.extract=boxed", lambda r: r.verifiers[0].settings == {"extract": "boxed"}),
        ("verifiers=[{name: regex}]", lambda r: r.verifiers[0].name == "regex"),
        ("rollout.vllm.server=http://a:1", lambda r: r.rollout.vllm.server == ("http://a:1",)),
        (
            "rollout.vllm.server=[http://a:1/, https://b:2]",
            lambda r: r.stages[1].rollout.vllm.server == ("http://a:1", "https://b:2"),
        ),
        ("data.system=", lambda r: r.data.system == ""),
        ("model.revision=null", lambda r: r.model.revision is None),
    ],
)
def test_set_overrides_with_the_type_that_yaml_gives(tmp_path, override, read):
    assert read(load(write(tmp_path, GOOD), [override]).recipe)


def test_a_list_of_objectives_is_a_hybrid_stage(tmp_path):
    hybrid = "[grpo, {preset: nsr-prerl, coefficient: 0.1}]"
    stage = load(write(tmp_path, GOOD), [f"stages.rl.objective={hybrid}"]).recipe.stages[1]
    assert [(o.space, o.coefficient) for o in stage.objective] == [("conditional", 1.0), ("pretrain", 0.1)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("group_size: 4", "group_sise: 4", ["mine.yaml:9: rollout.group_sise: unknown key", '"group_size"']),
        ("group_size: 4", "group_size: four", ["mine.yaml:9: rollout.group_size: expected a valid integer", "'four'"]),
        ("group_size: 4", "group_size: 4.0", ["mine.yaml:9: rollout.group_size", "integer", "4.0"]),
        ("group_size: 4", "group_size: 0", ["mine.yaml:9: rollout.group_size", "greater than or equal to 1, got 0"]),
        ("group_size: 4", "group_size: true", ["mine.yaml:9: rollout.group_size", "integer"]),
        ("objective: nsr-prerl", "objective: nsr-perl", ["mine.yaml:13: stages[0].objective", '"nsr-prerl"']),
        ("loss: {high: 0.3}", "loss: {hihg: 0.3}", ["mine.yaml:17: stages[1].objective.loss.hihg", '"high"']),
        ("loss: {high: 0.3}", "loss: clap", ["mine.yaml:17: stages[1].objective.loss", '"clap"', '"clip"']),
        ("learning_rate: 1e-5", "learning_rate: fast", ["mine.yaml:15: stages[0].learning_rate", "number", "'fast'"]),
        ("learning_rate: 1e-5", "learning_rate: .nan", ["mine.yaml:15: stages[0].learning_rate", "finite"]),
        ("steps: 5", "stepz: 5", ["mine.yaml:14: stages[0].stepz", '"steps"']),
        ("name: rl", "name: warmup", ['two are named "warmup"']),
        ("kind: held_out", "kind: heldout", ["mine.yaml:6: data.eval", '"held_out"']),
        ("{name: math}", "{nam: math}", ["mine.yaml:7: verifiers[0].nam: unknown key", '"name"']),
        ("[{name: math}]", "[]", ["mine.yaml:7: verifiers: needs at least one"]),
        ("name: mine", "name: mine\nname: yours", ["mine.yaml:2:1: not valid YAML", "duplicate key"]),
        ("name: mine", "name: mine\n\tseed: 1", ["mine.yaml:2:1: not valid YAML"]),
        ("group_size: 4", "vllm: {server: host:8000}", ["mine.yaml:9: rollout.vllm.server", "http://host:8000"]),
        ("group_size: 4", "vllm: {server: [http://a:x]}", ["mine.yaml:9: rollout.vllm.server[0]: expected an address"]),
        ("group_size: 4", "vllm: {server: []}", ["mine.yaml:9: rollout.vllm.server: needs at least one address"]),
        (
            "group_size: 4",
            "vllm: {server: [http://a:1, http://b:1, http://a:1/]}",
            ["mine.yaml:9: rollout.vllm.server: http://a:1 is there more than once"],
        ),
        ("group_size: 4", "vllm: {server: 8000}", ["mine.yaml:9: rollout.vllm.server", "8000"]),
        ("id: some/model", 'id: "pypi:a==1#b.gguf"', ["model.sha256: a pypi: model needs the SHA-256"]),
        ("    rollout: {group_size: 16}", "    keep_optimizer: true", ["reincarnation: continue"]),
        ("    rollout: {group_size: 16}", "    adapter: {dora: true}", ["DoRA is not a sum of products"]),
        (
            "    rollout: {group_size: 16}",
            "    reincarnation: continue\n    adapter: {rank: 4}",
            ["asks for other adapter settings"],
        ),
        (
            "    rollout: {group_size: 16}",
            "    rollout: {max_prompt_tokens: 4}",
            ['"rl" overrides rollout.max_prompt_tokens'],
        ),
    ],
)
def test_a_mistake_names_file_line_key_and_what_would_be_right(tmp_path, old, new, said):
    assert GOOD.count(old) >= 1
    message = refused(tmp_path, GOOD.replace(old, new, 1))
    for part in said:
        assert part in message


def test_a_mistake_in_a_shared_section_is_said_once(tmp_path):
    message = refused(tmp_path, GOOD.replace("group_size: 4", "group_size: no"))
    assert message.count("group_size") == 1


def test_all_mistakes_are_said_at_once(tmp_path):
    message = refused(tmp_path, GOOD.replace("group_size: 4", "group_size: no").replace("rank: 8", "rank: 0"))
    assert "mine.yaml:9: rollout.group_size" in message
    assert "mine.yaml:3: adapter.rank" in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rollout.group_size=x", "--set rollout.group_size=x: rollout.group_size: expected a valid integer"),
        ("modle={id: a}", 'modle: unknown key; did you mean "model"?'),
        ("rolout.group_size=2", 'rolout: unknown key; did you mean "rollout"'),
        ("stage.rl.steps=3", "--set stage.rl.steps=3: stage: unknown key; did you mean"),
        ("rollout.vlm.memory_share=0.5", "--set rollout.vlm.memory_share=0.5: rollout.vlm: unknown key"),
        ("stages.nope.steps=2", 'the list has 2 items and none is "nope"'),
        ("stages.5.steps=2", 'the list has 2 items and none is "5"'),
        ("seed", "not of the form path=value"),
        ("rollout.group_size.x=1", "is a value, not a section"),
        ("seed=[1", "the value is not YAML"),
        ("evaluation.pass_at=[8]", "evaluation.pass_at: 8 is more than evaluation.samples"),
    ],
)
def test_a_wrong_override_names_itself(tmp_path, override, said):
    assert said in refused(tmp_path, GOOD, override)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "this file is empty"), ("- a\n- b\n", "a recipe is a mapping"), ("just words\n", "a recipe is a mapping")],
)
def test_a_file_that_is_no_recipe_is_said_so(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_a_missing_file_and_an_unknown_name_say_where_to_look():
    with pytest.raises(UsageError, match=r"no recipe file nowhere.yaml"):
        load("nowhere.yaml")
    with pytest.raises(UsageError, match='did you mean "quickstart_dsrl"'):
        load("quickstart_dslr")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "probes=[alignmnt]",
            'one of alignment, token_alignment, thoughts, exploration, drift, change; did you mean "alignment"?',
        ),
        ("probes=[{name: drift, evry: 2}]", 'probes.evry: unknown key; did you mean "every"?'),
        ("probes=[{every: 2}]", "needs `name`, or a single word"),
        ("probes=[drift, {name: drift}]", '"drift" stands here twice'),
        ("stages.rl.until={metric: reward/mean}", "give one of `below` and `above`"),
        ("stages.rl.until={metric: reward/mean, abve: 1.0}", 'unknown key; did you mean "above"?'),
    ],
)
def test_probes_and_rules_are_explained(override, said):
    with pytest.raises(UsageError) as error:
        load("smoke", [override])
    assert said in error.value.message


def test_words_in_a_list_become_what_they_stand_for_when_a_key_of_theirs_is_set():
    overrides = ["probes=[alignment, {name: drift, every: 3}]", "probes.alignment.every=2", "probes.drift.groups=1"]
    recipe = load("smoke", overrides).recipe
    assert [(probe.name, probe.every) for probe in recipe.probes] == [("alignment", 2), ("drift", 3)]
    hybrid = load("smoke", ["stages.rl.objective=[grpo, nsr-prerl]", "stages.rl.objective.1.coefficient=0.1"]).recipe
    assert [objective.coefficient for objective in hybrid.stages[1].objective] == [1.0, 0.1]
    assert hybrid.stages[1].objective[1].space == "pretrain"


def test_a_relative_model_folder_is_found_next_to_the_recipe(tmp_path, monkeypatch):
    """As every relative path: in the working directory first, then in the recipe's folder."""
    from prerlkit.recipe.plugins import bind, model_near

    (tmp_path / "models" / "mine").mkdir(parents=True)
    loaded = load(write(tmp_path, GOOD.replace("some/model", "models/mine")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert bind(loaded.recipe, loaded.folder).model.id == str(tmp_path / "models/mine")
    assert loaded.recipe.model.id == "models/mine"
    (tmp_path / "elsewhere" / "models" / "mine").mkdir(parents=True)
    assert bind(loaded.recipe, loaded.folder).model.id == "models/mine"
    for name in ("some/model", "pypi:a==1#b.gguf", "x" * 5000):
        other = loaded.recipe.model.model_copy(update={"id": name})
        assert model_near(other, tmp_path) is other
        assert model_near(other, None) is other
