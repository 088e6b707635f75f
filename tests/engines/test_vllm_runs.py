"""Whole runs on real vLLM: smoke.yaml end to end, a server, NF4, and an engine that is killed mid-run."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from prerlkit.engines.vllm import serve_command
from prerlkit.errors import CanaryError, UsageError
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.canary import DRIFT
from prerlkit.rollout.vllm_server import ServerVllm
from prerlkit.train.callbacks import StopSignal
from prerlkit.train.run import run

ROOT = Path(__file__).resolve().parents[2]


def metrics(records, name):
    return [record.metrics[name] for record in records]


@pytest.mark.network
def test_smoke_runs_end_to_end_and_the_canary_agrees(vllm, callback, tmp_path):
    fast = ["stages.warmup.learning_rate=1e-3", "stages.rl.learning_rate=1e-3"]  # adapters that can be seen
    recipe = load(str(ROOT / "recipes/smoke.yaml"), ["rollout.engine=vllm", "rollout.max_sequences=16", *fast])
    try:
        summary = run(recipe.recipe, tmp_path / "run", recipe_folder=None, callback=callback, stop=StopSignal())
    except UsageError:
        raise
    except OSError as error:
        pytest.skip(f"the model can't be fetched: {error}")
    assert summary.exit_reason == "completed"
    assert len(callback.records) == 4
    print("drift", metrics(callback.records, "canary/drift"), "gain", metrics(callback.records, "canary/gain"))
    bound = DRIFT[recipe.recipe.model.dtype]  # bfloat16 where the CPU computes in it: elsewhere it takes too long
    assert all(0 < drift < bound for drift in metrics(callback.records, "canary/drift"))
    assert all(mismatch < bound for mismatch in metrics(callback.records, "importance/mismatch"))
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_4_bit_base_is_served_as_what_it_is(vllm, vllm_recipe, callback, tmp_path):
    data = vllm_recipe(stages=vllm_recipe()["stages"][1:])
    data["model"] |= {"quantization": "nf4"}
    summary = run(
        Recipe.model_validate(data), tmp_path / "run", recipe_folder=None, callback=callback, stop=StopSignal()
    )
    assert summary.exit_reason == "completed"
    assert any("no NF4" in note for note in callback.notes)
    assert max(metrics(callback.records, "canary/drift")) < 1e-3


def test_an_engine_killed_mid_run_is_started_again_and_the_run_goes_on(vllm, vllm_recipe, callback, tmp_path):
    import psutil

    data = vllm_recipe(output={"checkpoint_every": 1}, evaluation={"prompts": 2, "when": ["after"]})
    recipe = Recipe.model_validate(data)

    def kill(record):
        if record.step == 2:
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # or a zombie: an engine of the test before, not yet waited for
                    if "EngineCore" in " ".join([child.name(), *child.cmdline()]):
                        child.kill()

    callback.on_step = kill
    where = {"recipe_folder": None, "callback": callback, "stop": StopSignal()}
    summary = run(recipe, tmp_path / "run", **where)
    assert any("starting it again, once" in note for note in callback.notes)
    assert summary.exit_reason == "completed"
    assert [record.step for record in callback.records] == [1, 2, 3, 4]


@pytest.fixture
def serve(vllm_server):
    """Start `vllm serve` as the error messages say it; gives its address."""

    def start(recipe: Recipe, targets: tuple[str, ...]) -> str:
        _, _, _, model, *options = serve_command(recipe, targets).split(" ")
        return vllm_server(model, *options, VLLM_ALLOW_RUNTIME_LORA_UPDATING="1")

    return start


def test_a_run_on_two_servers_then_on_one_and_what_is_wrong_with_one(
    serve, vllm_recipe, make_model, make_tokenizer, callback, tmp_path
):
    import psutil

    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    served = Recipe.model_validate(vllm_recipe())
    with ThreadPoolExecutor(2) as both:  # a start takes half a minute
        first, address = both.map(lambda _: serve(served, targets), range(2))
    server = {"server": address, "shared_folder": str(tmp_path / "shared")}
    where = {"recipe_folder": None, "callback": callback, "stop": StopSignal()}

    def kill(record):
        if record.step == 2:
            for child in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):
                    if first.split(":")[-1] in child.cmdline():
                        os.killpg(child.pid, signal.SIGKILL)

    callback.on_step = kill
    recipe = Recipe.model_validate(vllm_recipe(vllm={**server, "server": [first, address]}))
    assert run(recipe, tmp_path / "run", **where).exit_reason == "completed"
    assert [record.step for record in callback.records] == [1, 2, 3, 4]
    assert [first in note for note in callback.notes if "continuing with 1 of 2" in note] == [True]
    assert max(metrics(callback.records, "canary/drift")) < 1e-4
    assert max(metrics(callback.records, "importance/mismatch")) < 1e-3

    other = tmp_path / "other-base"
    make_model(seed=1, hidden_size=128, intermediate_size=256).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    data = vllm_recipe(vllm=server)
    data["model"]["id"] = str(other)
    with pytest.raises(CanaryError, match="another model"):
        run(Recipe.model_validate(data), tmp_path / "two", **where)

    with pytest.raises(UsageError, match="tokenizer"):
        ServerVllm(address, connections=1, serve="").check_tokenizer([("17", (17,))])
