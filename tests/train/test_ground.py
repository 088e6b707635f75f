"""A first stage without an objective: an adapter that exists is the frozen ground of a run, with its own settings."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from prerlkit.cli.app import app
from prerlkit.errors import PrerlkitError
from prerlkit.policy.identity import write_base
from prerlkit.recipe.load import dump, load
from prerlkit.recipe.schema import Recipe
from prerlkit.train import load as load_module
from prerlkit.train.taken_stage import settle
from prerlkit.train.validate import warnings

WEIGHTS = "adapter_model.safetensors"
IDS = torch.arange(1, 9)[None]
OWN = {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]}


def base(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def write_adapter(folder, model, **config):
    """Write an adapter that PEFT made, with factors that are not zero."""
    torch.manual_seed(0)
    made = get_peft_model(model, LoraConfig(**{**OWN, **config}))
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tiny_model, tmp_path):
    return write_adapter(tmp_path / "mine", base(tiny_model))


def above(recipe: dict, source, **second) -> dict:
    """The tiny recipe on an adapter that is there: a ground, and one stage."""
    stage = {**recipe["stages"][1], **second}
    return {**recipe, "stages": [{"name": "start", "from": str(source)}, stage]}


def test_it_has_the_adapters_own_settings_and_the_run_resumes_to_the_byte_without_it(
    go, same_run, tiny_recipe, adapter, tmp_path
):
    recipe = above(tiny_recipe(), adapter)
    go(recipe, tmp_path / "straight")
    ground, trained = load(str(tmp_path / "straight" / "recipe.yaml")).recipe.stages
    assert (ground.adapter.rank, ground.adapter.alpha, ground.adapter.rslora) == (3, 5.0, True)
    assert ground.adapter.targets == ("q_proj", "v_proj")
    assert (trained.adapter.rank, trained.adapter.rslora) == (2, False)
    held, given = load_file(tmp_path / "straight" / "adapters" / "start" / WEIGHTS), load_file(adapter / WEIGHTS)
    assert all(torch.equal(held[key], given[key]) for key in held.keys() | given.keys())
    go(recipe, tmp_path / "parts", stop_after=1)
    go(recipe, tmp_path / "parts", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")
    go(recipe, tmp_path / "alone", stop_after=1)
    shutil.rmtree(adapter)
    go(recipe, tmp_path / "alone", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "alone")
    taken = json.loads((tmp_path / "alone" / "environment.json").read_text())["taken"]
    assert taken["place"] == str(adapter)


@pytest.mark.parametrize("file", [WEIGHTS, "adapter_config.json"])
def test_a_resume_refuses_an_adapter_that_changed(go, tiny_recipe, adapter, tmp_path, file):
    recipe = above(tiny_recipe(), adapter)
    go(recipe, tmp_path / "out", stop_after=1)
    if file == WEIGHTS:
        tensors = load_file(adapter / WEIGHTS)
        save_file({key: tensor + 1 for key, tensor in tensors.items()}, adapter / WEIGHTS)
    else:
        text = json.loads((adapter / file).read_text())
        (adapter / file).write_text(json.dumps(text | {"lora_dropout": 0.5}))
    with pytest.raises(PrerlkitError, match=r"is not the adapter that .* began with"):
        go(recipe, tmp_path / "out", existing="resume")


@pytest.mark.parametrize(
    ("config", "widened"),
    [
        ({"rank_pattern": {"q_proj": 4}}, 4),
        ({"alpha_pattern": {"layers.0.self_attn.v_proj": 7}}, 3),
        ({"rank_pattern": {"layers.1.self_attn.q_proj": 1}, "alpha_pattern": {"v_proj": 9}, "use_rslora": False}, 3),
        ({"target_modules": r".*layers\.0.*\.(q|v)_proj"}, 3),
        ({"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]}, 3),
    ],
)
def test_patterns_and_lists_of_layers_compute_what_peft_computes(
    go, tiny_recipe, tiny_model, tmp_path, config, widened
):
    adapter = write_adapter(tmp_path / "mine", base(tiny_model), **config)
    go(above(tiny_recipe(evaluation={"when": []}), adapter, steps=0), tmp_path / "out")
    assert load(str(tmp_path / "out" / "recipe.yaml")).recipe.stages[0].adapter.rank == widened
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(base(tiny_model), adapter)(IDS).logits
        stage = PeftModel.from_pretrained(base(tiny_model), tmp_path / "out" / "adapters" / "start")(IDS).logits
        whole = PeftModel.from_pretrained(base(tiny_model), tmp_path / "out" / "adapter")(IDS).logits
    torch.testing.assert_close(stage, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(whole, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(theirs, base(tiny_model)(IDS).logits, atol=1e-2)


def test_the_next_stage_trains_it_and_has_its_settings(go, tiny_recipe, tiny_model, adapter, tmp_path):
    recipe = above(tiny_recipe(), adapter, reincarnation="continue")
    go(recipe, tmp_path / "out")
    after, given = load_file(tmp_path / "out" / "adapters" / "rl" / WEIGHTS), load_file(adapter / WEIGHTS)
    assert {key: tensor.shape for key, tensor in after.items()} == {key: tensor.shape for key, tensor in given.items()}
    assert any(not torch.equal(after[key], given[key]) for key in given)
    assert load(str(tmp_path / "out" / "recipe.yaml")).recipe.stages[1].adapter.rank == 3
    patterned = write_adapter(tmp_path / "patterned", base(tiny_model), rank_pattern={"q_proj": 4})
    with pytest.raises(PrerlkitError, match=r"rank_pattern .*a stage that trains it on has one rank"):
        settle(Recipe.model_validate(above(tiny_recipe(), patterned, reincarnation="continue")), None, fetch=False)
    asking = Recipe.model_validate(above(tiny_recipe(), adapter, reincarnation="continue", adapter={"rank": 2}))
    with pytest.raises(PrerlkitError, match="asks for other adapter settings"):
        settle(asking, None, fetch=False)


def test_a_whole_run_of_several_stages_is_a_ground(go, tiny_recipe, tiny_model, tmp_path):
    go(tiny_recipe(), tmp_path / "first")
    recipe = above(tiny_recipe(), tmp_path / "first", steps=0)
    go(recipe, tmp_path / "out")
    assert load(str(tmp_path / "out" / "recipe.yaml")).recipe.stages[0].adapter.rank == 4  # the sum of two stages
    with torch.no_grad():
        here, there = (
            PeftModel.from_pretrained(base(tiny_model), tmp_path / name / "adapter")(IDS).logits
            for name in ("out", "first")
        )
    torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)
    own = above(tiny_recipe(), f"{tmp_path / 'first'}:warmup")
    assert settle(Recipe.model_validate(own), None, fetch=False).stages[0].adapter.rank == 2
    go(tiny_recipe(), tmp_path / "half", stop_after=3)
    with pytest.raises(PrerlkitError, match="is not finished"):
        settle(Recipe.model_validate(above(tiny_recipe(), tmp_path / "half")), None, fetch=False)


def test_what_the_files_tell_is_refused_before_a_weight_is_loaded(
    go, tiny_recipe, tiny_model, make_model, make_tokenizer, adapter, tmp_path, monkeypatch
):
    def not_reached(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(load_module, "load_policy", not_reached)

    def refused(words: str, folder=adapter, **changes) -> None:
        with pytest.raises(PrerlkitError, match=words):
            go({**above(tiny_recipe(), folder), **changes}, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    wide = make_model(hidden_size=32)
    refused("there, .* here", write_adapter(tmp_path / "narrow", wide))
    shutil.rmtree(tmp_path / "narrow")
    other = tmp_path / "other"
    make_model(seed=1).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    elsewhere = write_adapter(tmp_path / "elsewhere", AutoModelForCausalLM.from_pretrained(other))
    refused("their weights differ", elsewhere)
    deep = make_model(num_hidden_layers=3)
    refused("layers.2.* there, absent here", write_adapter(tmp_path / "deep", deep))
    dora = write_adapter(tmp_path / "dora", make_model(), use_dora=True)
    refused("use_dora True", dora)
    saved = write_adapter(tmp_path / "saved", make_model(), modules_to_save=["lm_head"])
    refused("modules_to_save", saved)
    tokens = write_adapter(tmp_path / "tokens", make_model(), trainable_token_indices=[1, 2])
    refused("trainable_token_indices", tokens)
    refused("there is no run folder", tmp_path / "nowhere")


@pytest.mark.parametrize("command", [("recipes", "validate"), ("plan",), ("run", "--dry-run")], ids=" ".join)
def test_a_check_without_a_run_refuses_an_adapter_of_another_base(tiny_recipe, make_model, adapter, tmp_path, command):
    def checked():
        with (tmp_path / "mine.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(recipe, file)
        return CliRunner().invoke(app, [*command, str(tmp_path / "mine.yaml")])

    recipe = above(tiny_recipe(), adapter)
    make_model(seed=1).save_pretrained(tmp_path / "other")
    write_base(adapter, "other", None, tmp_path / "other")
    refused = checked()
    assert refused.exit_code == 1
    assert f"is not the model that {adapter} was trained on: their weights differ" in refused.stderr
    write_base(adapter, "tiny", None, recipe["model"]["id"])
    assert checked().exit_code == 0
    write_adapter(adapter, make_model(hidden_size=32))
    assert "there, " in checked().stderr
    write_adapter(adapter, make_model())
    recipe["model"]["id"] = str(tmp_path / "nowhere")
    if command == ("recipes", "validate"):
        assert "nowhere, which is not on this machine, is the base of" in checked().stderr


def test_the_recipe_says_what_it_does_not_know_and_a_settled_one_says_all(tiny_recipe, adapter, tmp_path):
    recipe = Recipe.model_validate(above(tiny_recipe(), adapter))
    assert recipe.open
    (tmp_path / "open.yaml").write_text(dump(recipe))
    assert load(str(tmp_path / "open.yaml")).recipe == recipe
    assert load(str(tmp_path / "open.yaml")).recipe.open
    settled = settle(recipe, None, fetch=False)
    assert not settled.open
    assert settled.stacked_rank == 5
    (tmp_path / "settled.yaml").write_text(dump(settled))
    assert settle(load(str(tmp_path / "settled.yaml")).recipe, None, fetch=False) == settled


def test_the_engine_is_asked_with_the_sum_of_ranks(tiny_recipe, tiny_model, tmp_path):
    large = write_adapter(tmp_path / "large", base(tiny_model), r=511)
    recipe = above(tiny_recipe(), large)
    recipe["rollout"] = {**recipe["rollout"], "engine": "vllm"}
    with pytest.raises(PrerlkitError, match="rank 513, and vLLM takes at most 512"):
        settle(Recipe.model_validate(recipe), None, fetch=False)


def test_a_plan_counts_it_as_frozen(tiny_recipe, tiny_model, adapter):
    from prerlkit.plan.trace import trace

    recipe = settle(Recipe.model_validate(above(tiny_recipe(), adapter)), None, fetch=False)
    start, rl = trace(recipe, str(tiny_model), "cpu")[1]
    numbers = sum(tensor.numel() for tensor in load_file(adapter / WEIGHTS).values())
    assert start.resident["adapters"] == 4 * numbers
    assert not start.resident.get("optimizer")
    assert "backward" not in start.peaks
    assert rl.resident["optimizer"] > 0


def test_large_ranks_that_are_trained_are_warned_of(tiny_recipe, tiny_model, tmp_path):
    assert warnings(Recipe.model_validate(tiny_recipe(adapter={"rank": 63, "alpha": 64}))) == []
    both = warnings(Recipe.model_validate(tiny_recipe(adapter={"rank": 64, "alpha": 64})))
    assert len(both) == 2
    assert all("rank 64" in line and "Structure Over Scale" in line for line in both)
    large = write_adapter(tmp_path / "large", base(tiny_model), r=64)
    frozen = settle(Recipe.model_validate(above(tiny_recipe(), large)), None, fetch=False)
    assert warnings(frozen) == []  # it is not trained
    continued = above(tiny_recipe(), large, reincarnation="continue")
    (line,) = warnings(settle(Recipe.model_validate(continued), None, fetch=False))
    assert "the sum of all that it was made from" in line


@pytest.fixture
def hub(new_hub):
    server = new_hub()
    server.user("hf_writer", "me")
    yield server
    server.close()


def test_a_hub_id_is_fetched_kept_by_its_commit_and_clear_when_it_cannot_be_had(
    hub, tiny_recipe, adapter, recipe_text, tmp_path
):
    text = recipe_text(above(tiny_recipe(evaluation={"when": []}), "me/mine"))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": "hf_writer"}
    environment = {**clean, **switches, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "COLUMNS": "200"}

    def command(*words: str, code: int = 0, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], env={**environment, **more}, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    upload = "from huggingface_hub import HfApi; api = HfApi(); api.create_repo('me/mine'); "
    upload += f"api.upload_folder(repo_id='me/mine', folder_path={str(adapter)!r})"
    run = ("-m", "prerlkit", "run", str(text), "-o", str(tmp_path / "out"))
    assert "not in the Hub cache" in command(*run, code=1, HF_HUB_OFFLINE="1")
    assert "not on this machine" in command("-m", "prerlkit", "recipes", "validate", str(text))
    assert "has no adapter" in command(*run, code=1)
    command("-c", upload)
    said = command(*run)
    assert "taken from me/mine@" in said
    ground = load(str(tmp_path / "out" / "recipe.yaml")).recipe.stages[0]
    assert (ground.source, ground.adapter.rank) == ("me/mine", 3)
    taken = json.loads((tmp_path / "out" / "environment.json").read_text())["taken"]
    assert len(taken["place"].partition("@")[2]) == 40
    assert "valid" in command("-m", "prerlkit", "recipes", "validate", str(text), HF_HUB_OFFLINE="1")
    command(*run, "--resume", HF_HUB_OFFLINE="1")


def test_an_adapter_of_plain_peft_then_nsr_prerl_and_grpo_is_one_adapter(go, tiny_recipe, tiny_model, tmp_path):
    """Shows 1 of the page in docs: logits of the export equal the live stack's, greedy answers transformers' own."""
    from prerlkit.api import load_policy
    from prerlkit.publish.export import export
    from prerlkit.publish.merge import merge

    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), base(tiny_model)
    torch.manual_seed(0)
    made = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", use_rslora=True))
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=1e-2)
    ids = torch.tensor([tokenizer(f"{a}+{b}={a + b}")["input_ids"] for a in range(3) for b in range(3)])
    for _ in range(5):
        loss = made(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    made.save_pretrained(tmp_path / "mine")

    recipe = tiny_recipe()
    recipe["stages"] = [{"name": "start", "from": str(tmp_path / "mine")}, *recipe["stages"]]
    go(recipe, tmp_path / "out")
    exported = export(tmp_path / "out")
    assert exported.rank == 4 + 2 + 2
    alone = PeftModel.from_pretrained(base(tiny_model), exported.folder).eval()
    live = load_policy(tmp_path / "out", device="cpu", dtype="float32")
    with torch.no_grad():
        difference = (alone(IDS).logits - live.model(IDS).logits).abs().max().item()
    assert difference < 1e-4
    scale = 6 / math.sqrt(4)
    both, first = load_file(exported.folder / WEIGHTS), load_file(tmp_path / "mine" / WEIGHTS)
    for name, tensor in first.items():
        part = both[name][:4] if ".lora_A." in name else both[name][:, :4]
        torch.testing.assert_close(part, tensor if ".lora_A." in name else tensor * scale)
    merged = AutoModelForCausalLM.from_pretrained(merge(tmp_path / "out").folder, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS).logits, live.model(IDS).logits, rtol=1e-3, atol=1e-3)
    question = "What is 3 + 4?"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    made = alone.generate(**prompt, do_sample=False, max_new_tokens=12)[0, prompt["input_ids"].shape[1] :]
    assert live.answer(question, max_new_tokens=12) == [tokenizer.decode(made, skip_special_tokens=True)]


def test_settled_recipes_are_yaml_that_people_can_read(tiny_recipe, adapter, tmp_path):
    settled = settle(Recipe.model_validate(above(tiny_recipe(), adapter)), None, fetch=False)
    plain = YAML(typ="safe").load(dump(settled))
    assert plain["stages"][0]["adapter"]["targets"] == ["q_proj", "v_proj"]
    assert plain["stages"][0]["objective"] == []
