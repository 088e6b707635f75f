"""The plan against the real thing, byte for byte, on a tiny model; and what it says where a recipe doesn't fit."""

from __future__ import annotations

import pytest
import torch

from prerlkit.engines.engine import CACHE
from prerlkit.engines.vllm import next_to_trainer, trainer_growth
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.plan import worst_case
from prerlkit.plan.advice import advise
from prerlkit.plan.config import find_config
from prerlkit.plan.device import Device, at_hand, card, dtype_note, of_size
from prerlkit.plan.phases import optimizer_state, train, weights
from prerlkit.plan.plan import make_plan
from prerlkit.plan.probe import evaluations, extrapolate, shortened
from prerlkit.plan.rollouts import loads
from prerlkit.plan.rollouts import measured as measured_rollouts
from prerlkit.plan.trace import Parts, trace
from prerlkit.plan.traces import Traces
from prerlkit.plan.tracker import ADAPTERS, BASE, EVALUATION, OPTIMIZER, ROLLOUT, MemoryTracker
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.load import load
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.memory import CONTEXT, EngineMemory
from prerlkit.train.distributed import World
from prerlkit.train.step import Updater

GIB = 2**30


@pytest.fixture
def recipe(tiny_recipe):
    """A function that gives the tiny recipe with one stage and some sections changed."""

    def make(objective="grpo", *, model=None, **sections) -> Recipe:
        data = tiny_recipe()
        data["model"].update(model or {})
        data["rollout"].update({"group_size": 4, "prompts_per_step": 4, "max_prompt_tokens": 40, "max_new_tokens": 12})
        data["stages"] = [{"name": "rl", "objective": objective, "steps": 3, "learning_rate": 1e-3}]
        data["memory"] = {"microbatch_tokens": 300, "logits_chunk": 64}
        for name, changes in sections.items():
            data[name] = {**data.get(name, {}), **changes}
        return Recipe.model_validate(data)

    return make


def measured(recipe: Recipe, path: str) -> dict[str, int]:
    stage = recipe.stages[0]
    policy = load_policy(path, recipe.model, read_tokens(path, recipe.model), recipe.memory)
    tracker = MemoryTracker("cpu", policy.base.config.vocab_size, (2, 16))
    tracker.hold(weights(policy.base), BASE)
    policy.adapters.fresh(stage.name, stage.adapter, seed=0)
    tracker.hold([p.data for name, p in policy.base.named_parameters() if ".lora_" in name], ADAPTERS)
    updater = Updater(policy, stage, recipe.memory, World())
    peaks: dict[str, int] = {}
    for groups in worst_case.batches(stage, recipe.memory, share_contexts=policy.share_contexts):
        for name, peak in train(tracker, updater, groups).items():
            peaks[name] = max(peaks.get(name, 0), peak.total)
    tracker.hold(optimizer_state(updater.optimizer), OPTIMIZER)
    for asked in loads(recipe, stage):
        peaks[asked.phase] = max(peaks.get(asked.phase, 0), measured_rollouts(tracker, policy, asked).total)
    return {name: size for name, size in peaks.items() if name}


SETTINGS = {
    "grpo": {},
    "pretrain": {"objective": "nsr-prerl"},
    "nf4": {"model": {"quantization": "nf4", "dtype": "bfloat16"}},
    "checkpointing": {"memory": {"gradient_checkpointing": True}},
    "hybrid with kl": {"objective": ["prerl", {"preset": "grpo", "kl": {"coefficient": 0.1}}]},
    "several updates": {"optimizer": {"updates_per_rollout": 2}},
    "8-bit adam": {"optimizer": {"name": "adamw_8bit"}},
    "long answers, evaluated by samples": {
        "rollout": {"max_new_tokens": 70},
        "evaluation": {"greedy": False, "samples": 3, "max_new_tokens": 33},
    },
    "prompts that wait": {"rollout": {"max_sequences": 8, "max_new_tokens": 40}, "evaluation": {"prompts": 20}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_trace_on_shapes_is_what_a_real_step_and_rollout_hold(recipe, tiny_model, name):
    changes = dict(SETTINGS[name])
    made = recipe(changes.pop("objective", "grpo"), **changes)
    _, traced = trace(made, str(tiny_model), "cpu")
    predicted = {phase: peak.total for phase, peak in traced[0].peaks.items()}
    real = measured(made, str(tiny_model))
    assert set(predicted) == {"log-probs", "backward", "optimizer", "rollout", "evaluation"} == set(real)
    for phase in predicted:
        assert predicted[phase] == pytest.approx(real[phase], rel=0.02), phase


def test_a_plan_follows_the_recipe(recipe, tiny_model):
    """What should take more takes more; a frozen adapter below stays; 4 bit is smaller than 16."""
    card_24 = card("rtx4090")
    few, many = (make_plan(recipe(rollout={"max_sequences": n}), str(tiny_model), card_24).phases for n in (4, 16))
    by = {phase.name: phase for phase in few}
    assert {p.name: p for p in many}["rollout"].by_kind["KV cache"] > by["rollout"].by_kind["KV cache"]
    whole = trace(recipe(model={"dtype": "bfloat16"}), str(tiny_model), "cuda")[0]
    packed = trace(recipe(model={"dtype": "bfloat16", "quantization": "nf4"}), str(tiny_model), "cuda")[0]
    eighth = trace(recipe(model={"dtype": "bfloat16", "quantization": "int8"}), str(tiny_model), "cuda")[0]
    assert packed.weight_bytes < eighth.weight_bytes < whole.weight_bytes
    assert packed.parameters == whole.parameters
    assert whole.cache_bytes_per_token == 2 * 2 * 2 * 16 * 2  # layers, keys and values, heads, width, bytes


def test_stages_stack_merge_and_continue_on_paper(tiny_recipe, tiny_model):
    totals = {}
    for way in ("stack", "merge", "continue"):
        data = tiny_recipe()
        data["stages"][1]["reincarnation"] = way
        traced = trace(Recipe.model_validate(data), str(tiny_model), "cpu")[1]
        totals[way] = [stage.resident["adapters"] for stage in traced]
    assert totals["stack"][1] == 2 * totals["stack"][0]
    assert totals["merge"][1] == totals["merge"][0] == totals["continue"][1]


def test_advice_comes_cheapest_first_and_each_is_tried(recipe, tiny_model):
    made = recipe(rollout={"max_prompt_tokens": 200, "max_sequences": 64})
    roomy = make_plan(made, str(tiny_model), Device("a card", "cuda", GIB, 0))
    assert roomy.fits
    # How much rollouts copy depends on the version of transformers: the card has room for them, half way to training.
    sampling = max(roomy.needed_in(phase) for phase in roomy.phases if phase.name in (ROLLOUT, EVALUATION))
    small = Device("a small card", "cuda", (sampling + roomy.needed) // 2, 0)
    traces = Traces(str(tiny_model), "cuda")
    plan = make_plan(made, str(tiny_model), small, traces)
    assert not plan.fits
    advice = advise(made, plan, traces)
    fitting = advice[0]
    assert fitting.fits
    assert fitting.settings == ("memory.gradient_checkpointing=true",)
    assert fitting.needed == sampling  # nothing of training is left above them
    changes = dict(setting.split("=") for setting in fitting.settings)
    assert make_plan(made, str(tiny_model), small).needed > small.memory >= fitting.needed
    assert all("." in path for path in changes)


@pytest.mark.parametrize(
    ("changes", "halves"),
    [
        ({"rollout": {"max_sequences": 4}}, ["sampling"]),
        ({"rollout": {"engine": "vllm"}}, ["sampling"]),
        (
            {"rollout": {"engine": "vllm", "max_sequences": 4}, "memory": {"microbatch_tokens": 64}},
            ["training", "sampling"],
        ),
        ({"memory": {"microbatch_tokens": 64, "gradient_checkpointing": True}}, ["training"]),
        ({"memory": {"logits_chunk": 8}, "rollout": {"engine": "vllm"}}, ["training", "sampling"]),
        ({"rollout": {"max_new_tokens": 5}}, ["training", "sampling"]),
        ({"model": {"quantization": "nf4"}}, ["training", "sampling"]),
    ],
)
def test_half_a_plan_that_is_known_is_what_it_would_have_traced(recipe, tiny_model, monkeypatch, changes, halves):
    device, made = card("rtx4090"), []
    monkeypatch.setattr("prerlkit.plan.traces.trace", lambda *args: made.append(args[3]) or trace(*args))
    traces = Traces(str(tiny_model), device.kind)
    known = make_plan(recipe(), str(tiny_model), device, traces)
    assert [parts.training for parts in made] == [False, True]
    made.clear()
    changed = recipe(**changes)
    planned = make_plan(changed, str(tiny_model), device, traces)
    assert sorted("training" if parts.training else "sampling" for parts in made) == sorted(halves)
    assert planned.phases == make_plan(changed, str(tiny_model), device).phases
    assert planned.phases != known.phases


def test_sizes_and_cards_are_read():
    assert of_size("24GiB").memory == of_size("24").memory == 24 * GIB
    assert of_size("24GB").memory == 24 * 10**9
    assert of_size("8192 MiB").memory == 8 * GIB
    with pytest.raises(UsageError, match="no amount"):
        of_size("much")
    with pytest.raises(UsageError, match="rtx4090"):
        card("rtx490")


def test_vllm_beside_the_trainer_has_its_share_by_hand():
    need = EngineMemory(weights=4 * GIB, adapter=GIB, cache=9 * GIB, sequence=GIB // 2)
    reserved = next_to_trainer(need, 12 * GIB, sleeps=True)
    assert sum(reserved.rollout.values()) == 12 * GIB
    assert reserved.rollout[CACHE] == 5 * GIB  # weights, adapter and its own 2 GiB are taken off
    assert reserved.at_once == 10
    assert sum(reserved.training.values()) == GIB
    assert next_to_trainer(need, 12 * GIB, sleeps=False).training == reserved.rollout
    assert not reserved.problem
    assert "would not start" in next_to_trainer(need, 7 * GIB, sleeps=True).problem


def test_its_context_is_on_top_of_its_share_and_its_weights_are_pinned_while_it_sleeps():
    need = EngineMemory(weights=4 * GIB, adapter=GIB, cache=9 * GIB, sequence=GIB // 2, pinned=6 * GIB)
    reserved = next_to_trainer(need, 12 * GIB, sleeps=True, context=CONTEXT)
    assert sum(reserved.rollout.values()) == 12 * GIB + CONTEXT
    assert reserved.host == 6 * GIB
    assert next_to_trainer(need, 12 * GIB, sleeps=False, context=CONTEXT).host == 0


@pytest.mark.parametrize(
    ("quantization", "vllm", "processes", "copy"),
    [
        ("none", {}, 2, False),
        ("int8", {}, 2, False),  # vLLM reads the published 16-bit files
        ("nf4", {}, 2, True),
        ("nf4", {"base": "original"}, 2, False),
        ("nf4", {"server": "http://x:8000"}, 1, False),
    ],
)
def test_only_a_4_bit_base_that_vllm_serves_is_unpacked_in_the_hosts_memory(
    recipe, tiny_model, quantization, vllm, processes, copy
):
    """3 GiB for each process and, with nothing pinned, two bytes for each parameter of the copy."""
    made = recipe(
        model={"quantization": quantization, "dtype": "bfloat16"},
        rollout={"engine": "vllm", "vllm": {"sleep": False, **vllm}},
    )
    plan = make_plan(made, str(tiny_model), Device("a card", "cuda", 16 * GIB, GIB))
    assert plan.engine.host == 0
    assert plan.host_needed == processes * 3 * GIB + (2 * plan.sizes.parameters if copy else 0)


def test_a_run_whose_engine_pins_more_than_the_host_has_is_refused(recipe, monkeypatch):
    from prerlkit.plan import fit

    made = recipe(rollout={"engine": "vllm"})
    monkeypatch.setattr(fit, "at_hand", lambda wanted: Device("a card", "cuda", 24 * GIB, GIB))
    plan = make_plan(made, made.model.id, Device("a card", "cuda", 24 * GIB, GIB))
    assert plan.host_needed > plan.engine.host > 0
    monkeypatch.setattr(fit, "free_host_memory", lambda: plan.host_needed)
    fit.refuse_what_cannot_fit(made)
    monkeypatch.setattr(fit, "free_host_memory", lambda: plan.host_needed - 1)
    with pytest.raises(PrerlkitError, match="of the host's memory"):
        fit.refuse_what_cannot_fit(made)


def test_a_plan_with_vllm_counts_its_copy_while_it_samples_and_little_while_it_sleeps(recipe, tiny_model):
    quantized = {"quantization": "nf4", "dtype": "bfloat16"}
    device = Device("a card", "cuda", 16 * GIB, GIB)
    made = make_plan(recipe(model=quantized, rollout={"engine": "vllm"}), str(tiny_model), device)
    phases = {phase.name: phase.by_kind for phase in made.phases}
    assert made.sizes.weight_bytes < made.sizes.dense_bytes == 2 * made.sizes.parameters
    assert phases["rollout"]["engine weights"] == phases["weight sync"]["engine weights"] > made.sizes.dense_bytes
    assert phases["backward"]["engine overhead"] == GIB
    assert "engine KV cache" not in phases["backward"]
    assert phases["weight sync"]["activations"]  # the canary's pass through the trainer
    assert made.fits
    assert made.engine.at_once == 64
    served = {"engine": "vllm", "vllm": {"server": "http://x:8000"}}
    elsewhere = make_plan(recipe(model=quantized, rollout=served), str(tiny_model), device)
    assert not any("engine" in kind for phase in elsewhere.phases for kind in phase.by_kind)
    tight = make_plan(recipe(rollout={"engine": "vllm", "vllm": {"memory_share": 0.05}}), str(tiny_model), device)
    assert not tight.fits
    assert "would not start" in tight.engine.problem


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
@pytest.mark.parametrize("way", ["stack", "merge", "continue"])
def test_what_is_kept_free_for_the_trainer_is_what_it_will_hold(tiny_recipe, tiny_model, optimizer, way):
    """The share that vLLM gets is computed before there is an adapter; the trace knows what they will be."""
    data = tiny_recipe(optimizer={"name": optimizer}, adapter={"rank": 64})  # bitsandbytes leaves small ones in 32 bit
    data["stages"][1]["reincarnation"] = way
    made = Recipe.model_validate(data)
    sizes, traced = trace(made, str(tiny_model), "cuda", Parts(rollouts=False))
    held = max(sum(stage.resident.values()) for stage in traced) - sizes.weight_bytes
    assert trainer_growth(made, sizes.config) == pytest.approx(1.08 * held, rel=0.1)


def test_configs_of_packaged_recipes_are_carried(tmp_path):
    assert find_config(Model(id="Qwen/Qwen3-4B")).endswith("Qwen--Qwen3-4B.json")
    with pytest.raises(UsageError, match="--config FILE"):
        find_config(Model(id="some/thing-else"))
    with pytest.raises(UsageError, match="there is no"):
        find_config(Model(id="some/thing-else"), tmp_path / "none.json")


def test_qwen3_4b_has_the_parameters_it_is_known_for():
    sizes, _ = trace(load("math_dsrl", ["stages.rl.steps=1"]).recipe.model_copy(update={"stages": ()}), *_QWEN)
    assert sizes.parameters == 4_022_468_096
    assert sizes.cache_bytes_per_token == 36 * 2 * 8 * 128 * 2


_QWEN = (find_config(Model(id="Qwen/Qwen3-4B")), "cuda")


def test_a_probe_is_short_and_its_hours_are_those_of_the_whole(recipe):
    whole = recipe(evaluation={"prompts": 10, "every": 2})
    short = shortened(whole)
    assert [stage.steps for stage in short.stages] == [2]
    assert evaluations(short) == 0
    assert evaluations(whole) == 2 + 1
    line = {"stage": "rl", "time/step": 10.0, "time/rollout": 4.0, "tokens/generated": 100, "memory/peak": 7}
    found = extrapolate(whole, [{**line, "time/step": 99.0}, {**line, "tokens/completion_mean": 5.0}])
    assert found.step_seconds == {"rl": 10.0}
    # three steps of 10 s, and three evaluations of 10 greedy answers of 5 tokens at 4 s per 100
    assert found.hours * 3600 == pytest.approx(30 + 3 * 10 * 5 * 4 / 100)
    assert found.peak_memory == 7


def test_hours_from_real_steps_have_each_measurement_of_a_probe(recipe):
    data = recipe(evaluation={"prompts": 10, "when": [], "every": 0}).model_dump(mode="json")
    whole = Recipe.model_validate({**data, "probes": ["alignment", {"name": "thoughts", "every": 1}]})
    line = {"stage": "rl", "time/step": 10.0, "tokens/generated": 100, "time/rollout": 4.0}
    line |= {"tokens/completion_mean": 5.0, "memory/peak": 7, "time/probe/thoughts": 1.0}
    found = extrapolate(whole, [{**line, "time/probe/alignment": 20.0}, {**line, "time/probe/thoughts": 0.5}])
    # three steps: alignment is due in the first alone (every 5), thoughts in each.
    assert found.hours * 3600 == pytest.approx(30 + 20 + 3 * 0.5)


def test_a_refusal_names_what_would_fit(recipe, monkeypatch):
    from prerlkit.plan.fit import refuse_what_cannot_fit

    made = recipe(rollout={"max_prompt_tokens": 400, "max_sequences": 64, "prompts_per_step": 16})
    needed = make_plan(made, made.model.id, Device("x", "cpu", 0, GIB)).needed
    monkeypatch.setattr("prerlkit.plan.device.free_host_memory", lambda: needed - 2**20)
    monkeypatch.setattr("prerlkit.plan.fit.leftover_note", lambda: "An engine still holds memory (process 4321). ")
    with pytest.raises(PrerlkitError) as caught:
        refuse_what_cannot_fit(made)
    assert "process 4321" in caught.value.hint
    assert "--set rollout.max_sequences=16" in caught.value.hint
    monkeypatch.setattr("prerlkit.plan.device.free_host_memory", lambda: needed)
    refuse_what_cannot_fit(made)


def test_a_card_without_bfloat16_is_named_with_what_to_set(recipe, monkeypatch):
    from prerlkit.plan.fit import refuse_what_cannot_fit

    assert dtype_note("bfloat16", card("rtx3060")) == dtype_note("float16", card("t4")) == ""
    monkeypatch.setattr("prerlkit.plan.fit.at_hand", lambda wanted: card("t4"))
    for dtype, named in (("bfloat16", True), ("float16", False)):
        line = refuse_what_cannot_fit(recipe(model={"dtype": dtype}))
        assert line.startswith("planned in ")
        assert (
            line.endswith("t4 has no bfloat16 and converts every number, which is slow: set model.dtype to float16")
            is named
        )


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_the_card_at_hand_says_whether_it_has_bfloat16(monkeypatch, capability, native):
    monkeypatch.setattr("prerlkit.plan.device.pick_device", lambda wanted: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (GIB, GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert at_hand("cuda").bfloat16 is native


def test_a_tracker_counts_a_storage_once_and_until_it_is_freed():
    tracker = MemoryTracker("cpu", 0, (0, 0))
    with tracker:
        made = torch.zeros(1000)
        view = made.view(10, 100)[2:]
        del made
        assert tracker.total == 4000
        other = view + 1
        assert tracker.total == 4000 + 3200
        del view
        assert tracker.total == 3200
        del other
    assert tracker.total == 0
    assert tracker.peaks[""].total == 7200


@pytest.mark.parametrize(("group_size", "new_tokens", "groups"), [(16, 100, 1), (8, 100, 2), (8, 400, 1), (4, 10, 4)])
def test_the_longest_sequences_fill_two_micro_batches_and_no_more(recipe, group_size, new_tokens, groups):
    """A context of 40 and a budget of 600 tokens: 5 completions of 100 fit, 1 of 400, all of 10."""
    rollout = {"group_size": group_size, "max_new_tokens": new_tokens}
    made = recipe(rollout=rollout, memory={"microbatch_tokens": 600})
    longest = next(iter(worst_case.batches(made.stages[0], made.memory, share_contexts=True)))
    assert len(longest) == groups


@pytest.mark.parametrize(
    ("group", "files", "free"),
    [
        ("0::/jobs/7\n", {"jobs/7/memory": ("3000", "1000"), "jobs/memory": ("9000", "1000")}, 2000),
        ("0::/jobs/7\n", {"jobs/7/memory": ("max", "1000"), "jobs/memory": ("1500", "1000")}, 500),
        ("0::/outside\n", {"memory": ("3000", "500")}, 2500),
        ("0::/\n", {}, 10240),
    ],
)
def test_free_memory_is_that_of_the_own_control_group(tmp_path, monkeypatch, group, files, free):
    """A scheduler's limit is on a group below the top, or above the own one."""
    from prerlkit import host_memory

    for name, (most, used) in files.items():
        place = (tmp_path / name).parent
        place.mkdir(parents=True, exist_ok=True)
        (place / "memory.max").write_text(most + "\n")
        (place / "memory.current").write_text(used + "\n")
    real = host_memory._read
    told = {"/proc/meminfo": "MemAvailable:    10 kB\n", "/proc/self/cgroup": group}
    monkeypatch.setattr(host_memory, "_read", lambda path: told.get(path) or real(path))
    monkeypatch.setattr(host_memory, "_CGROUPS", str(tmp_path))
    assert host_memory.free_host_memory() == free
