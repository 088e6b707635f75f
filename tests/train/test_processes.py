"""Runs of two processes over gloo: the run of one process, whatever is shared out, stopped, resumed or failed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.schema import Recipe
from prerlkit.train import connect as connect_module
from prerlkit.train.batch import TrainRow, share_rows
from prerlkit.train.callbacks import StopSignal
from prerlkit.train.connect import connect, read_place
from prerlkit.train.distributed import ALONE
from prerlkit.train.run import run
from prerlkit.train.validate import check_processes, check_settings
from prerlkit.types import StepRecord

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port")


class SilentCallback:
    """Keeps nothing; asks to stop after a given step."""

    def __init__(self, stop: StopSignal, after: int | None) -> None:
        self._stop, self._after = stop, after

    def on_message(self, text: str) -> None: ...
    def on_stage_begin(self, name: str, steps: int, done: int) -> None: ...
    def progress(self, what: str, done: int, total: int) -> None: ...
    def on_evaluate(self, result) -> None: ...
    def on_stage_end(self, effect) -> None: ...

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        if record.step == self._after:
            self._stop.request()


def go(recipe: dict, output: Path, *, world=ALONE, stop_after: int | None = None, existing="refuse") -> str:
    stop = StopSignal()
    arguments = {"callback": SilentCallback(stop, stop_after), "stop": stop, "existing": existing, "world": world}
    return run(Recipe.model_validate(recipe), output, recipe_folder=None, **arguments).exit_reason


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def lines(path: Path) -> list[dict]:
    """Objects of a jsonl file, without the check of a line, which covers its times."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "crc32"} for line in found]


def longer(recipe: dict, prompts: int, **changes) -> dict:
    """`recipe` with that many prompts a step, and completions long enough to end at different steps."""
    rollout = {**recipe["rollout"], "prompts_per_step": prompts, "max_new_tokens": 8}
    return {**recipe, "rollout": rollout, **changes}


def _refilling(recipe: dict) -> dict:
    """`recipe` with refilled steps. A further draw may have one prompt: the other process then samples nothing."""
    refilled = longer(recipe, 3)
    return {**refilled, "rollout": {**refilled["rollout"], "refill": 3, "max_new_tokens": 3}}


def _replaying(recipe: dict) -> dict:
    """Three of four groups are replayed: one prompt is sampled, and the other process then samples nothing."""
    return {**longer(recipe, 4)["rollout"], "replay": {"share": 0.75, "max_age": 2}}


@pytest.fixture(scope="module")
def module_recipe(tiny_recipe):
    """The tiny recipe with an odd number of prompts to evaluate."""
    recipe = tiny_recipe(evaluation={"prompts": 5, "samples": 2, "pass_at": [1, 2]})
    recipe["data"]["eval"]["rows"] = 5
    return recipe


@pytest.fixture(scope="module")
def runs(module_recipe, tmp_path_factory):
    """Folder of runs by scenario: `<name>-one` by one process, `<name>-two` by two, started once for all scenarios."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = module_recipe
    kl = [{**recipe["stages"][0]}, {**recipe["stages"][1], "objective": {"preset": "grpo", "kl": {"coefficient": 0.1}}}]
    updates = {"optimizer": {"updates_per_rollout": 2}}
    ending = {"steps": 4, "until": {"metric": "probe/alignment", "above": -2.0, "window": 2}}
    probes = [{"name": name, "every": 1} for name in ("alignment", "thoughts", "exploration", "drift")]
    merged = [recipe["stages"][0], {**recipe["stages"][1], "reincarnation": "merge"}]
    sft = {"objective": "sft", "demonstrations": {"completion": "{answer}"}, "rollout": {"prompts_per_step": 3}}
    scenarios = {
        "even": longer(recipe, 2),
        "uneven": longer(recipe, 3, stages=kl, **updates),
        # A group of one has no signal, so that nothing is trained; then one row for two processes at times.
        "nothing": {**recipe, "rollout": {**recipe["rollout"], "group_size": 1}},
        "merge": longer(recipe, 2, stages=merged),
        "refill": _refilling(recipe),
        "supervised": longer(recipe, 2, stages=[{**recipe["stages"][0], **sft}, recipe["stages"][1]]),
        "replay": longer(recipe, 4, rollout=_replaying(recipe)),
        "probed": longer(recipe, 3, probes=probes, stages=[{**recipe["stages"][0], **ending}, recipe["stages"][1]]),
        "sharded": longer(recipe, 3, memory={"shard_base": True, "gradient_checkpointing": True}, stages=kl),
        "sharded-cache": longer(recipe, 2, memory={"shard_base": True, "microbatch_tokens": 128}, **updates),
    }
    for name, one in scenarios.items():
        go({**one, "memory": {}}, folder / f"{name}-one")
    go(scenarios["even"], folder / "resumed-two", stop_after=3)  # one process begins it, two go on
    (folder / "scenarios.json").write_text(json.dumps(scenarios))
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env={**os.environ, **place, "RANK": str(r), "LOCAL_RANK": str(r)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(2)
    ]
    errors = [process.communicate(timeout=240)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors
    go(scenarios["even"], folder / "stopped-two", existing="resume")  # two processes began it, one goes on
    return folder


def _rank(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    scenarios = json.loads((folder / "scenarios.json").read_text())
    with connect() as world:
        for name, recipe in scenarios.items():
            assert go(recipe, folder / f"{name}-two", world=world) == "completed"
        assert go(scenarios["even"], folder / "resumed-two", world=world, existing="resume") == "completed"
        # Only the second process is asked to stop.
        stop_after = 1 if world.rank == 1 else None
        assert go(scenarios["even"], folder / "stopped-two", world=world, stop_after=stop_after) == "stopped"


def same_adapter(one: Path, two: Path) -> float:
    """Compare two runs' adapters; gives the largest number in them.

    By norm: Adam's first steps divide a gradient by its own size, so where it is next to zero its rounding shows.
    """
    a, b = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (one, two))
    assert set(a) == set(b)
    for key in a:
        assert (a[key] - b[key]).norm() <= 2e-4 * a[key].norm(), key
    return max(float(tensor.abs().max()) for tensor in a.values())


@pytest.mark.parametrize(
    "name",
    ["even", "uneven", "nothing", "merge", "refill", "supervised", "replay", "probed", "sharded", "sharded-cache"],
)
def test_two_processes_leave_the_adapter_samples_and_metrics_of_one(runs, name):
    one, two = runs / f"{name}-one", runs / f"{name}-two"
    assert same_adapter(one, two) > 0.01
    assert sorted(p.name for p in one.rglob("*")) == sorted(p.name for p in two.rglob("*"))
    for a, b in zip(lines(one / "samples.jsonl"), lines(two / "samples.jsonl"), strict=True):
        for x, y in zip(a["completions"], b["completions"], strict=True):
            assert x.pop("logprob") == pytest.approx(y.pop("logprob"), abs=1e-3)
        assert a == b
    for a, b in zip(lines(one / "metrics.jsonl"), lines(two / "metrics.jsonl"), strict=True):
        assert a.pop("stage") == b.pop("stage")
        apart = {key for key in a if key.startswith(("time/", "memory/"))} | {"tokens/trained"}
        assert {k: v for k, v in a.items() if k not in apart} == pytest.approx(
            {k: v for k, v in b.items() if k not in apart}, rel=1e-3, abs=1e-4
        )
        assert b["tokens/trained"] >= a["tokens/trained"]  # a context that two processes need is counted twice
        assert (a["tokens/trained"] > 0) == (b["tokens/trained"] > 0)
    assert any(m["tokens/trained"] for m in lines(two / "metrics.jsonl")) == (name != "nothing")
    for a, b in zip(lines(one / "evaluations.jsonl"), lines(two / "evaluations.jsonl"), strict=True):
        kl = a.pop("kl"), b.pop("kl")
        assert (kl[0] is None) == (a["name"] == "before")
        assert kl[0] == (None if kl[1] is None else pytest.approx(kl[1], rel=1e-3, abs=1e-5))
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


@pytest.mark.parametrize("name", ["resumed", "stopped"])
def test_a_run_may_go_on_with_another_number_of_processes(runs, name):
    assert same_adapter(runs / "even-one", runs / f"{name}-two") > 0.01
    assert [m["step"] for m in lines(runs / f"{name}-two" / "metrics.jsonl")] == [1, 2, 3, 4]
    assert len(lines(runs / f"{name}-two" / "evaluations.jsonl")) == 3
    assert json.loads((runs / f"{name}-two" / "summary.json").read_text())["exit_reason"] == "completed"


def test_probes_see_the_groups_of_all_processes_and_their_rule_ends_the_stage_in_each(runs):
    assert [m["stage"] for m in lines(runs / "probed-two" / "metrics.jsonl")] == ["warmup", "warmup", "rl", "rl"]
    for one, two in zip(*(lines(runs / f"probed-{n}" / "probes.jsonl") for n in ("one", "two")), strict=True):
        assert one["exploration"] == two["exploration"]
        assert one["alignment"]["completions"] == two["alignment"]["completions"]


def test_a_process_that_fails_stops_the_others_and_the_summary_says_why(module_recipe, tmp_path):
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(longer(module_recipe, 2)))
    script = tmp_path / "failing.py"
    script.write_text(
        "import os, sys\n"
        "from prerlkit.cli import main\n"
        "from prerlkit.rollout.hf import HfEngine\n"
        "real, calls = HfEngine.generate, []\n"
        "def generate(self, prompts, sampling):\n"
        "    calls.extend([1] * (self._base.device.type != 'meta'))\n"  # the plan runs it on shapes
        "    if os.environ['RANK'] == '1' and len(calls) == 8:\n"
        "        from prerlkit.errors import PrerlkitError\n"
        "        raise PrerlkitError('the cable was pulled', 'Plug it in.')\n"
        "    return real(self, prompts, sampling)\n"
        "HfEngine.generate = generate\n"
        "sys.argv = ['prerlkit', *sys.argv[1:]]\n"
        "main()\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    command = [*TORCHRUN, free_port(), str(script), "run", str(recipe), "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert done.stdout.count("2 processes share each step") == 1  # the first one speaks for both
    assert done.stdout.count("warmup   2/2  reward") == 1
    assert done.stderr.count("the cable was pulled") == 1, done.stderr
    assert done.stderr.count("error ") == 1, done.stderr
    reason = json.loads((tmp_path / "out" / "summary.json").read_text())["exit_reason"]
    assert reason.startswith("failed: ")
    assert "process 1 failed: PrerlkitError: the cable was pulled" in reason


def test_processes_with_other_recipes_don_t_start(module_recipe, tmp_path):
    recipes = [longer(module_recipe, 2), longer({**module_recipe, "seed": 1}, 2)]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "COLUMNS": "160"}
    ranks = []
    for rank, recipe in enumerate(recipes):
        path = tmp_path / f"{rank}.json"
        path.write_text(json.dumps(recipe))
        environment = {**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "prerlkit", "run", str(path), "-o", str(tmp_path / "out")]
        ranks.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=120)[1] for process in ranks]
    assert sorted(process.returncode for process in ranks) == [1, 2]  # one shows it, the other ends without a word
    assert "".join(errors).count("differ in recipe or options: 1 from process 0") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"RANK": None}, "RANK is missing"),
        ({"WORLD_SIZE": "two"}, 'WORLD_SIZE is "two", not a number'),
        ({"RANK": "2"}, "RANK 2 and LOCAL_RANK 0 don't fit WORLD_SIZE 2"),
        ({"LOCAL_RANK": "1", "RANK": "0"}, "don't fit"),
        ({"MASTER_PORT": None}, "MASTER_PORT is missing"),
    ],
)
def test_wrong_variables_of_a_launcher_are_named(changes, complaint):
    right = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    assert read_place(right) == (0, 2, 0)
    with pytest.raises(UsageError, match=complaint) as raised:
        read_place({k: v for k, v in {**right, **changes}.items() if v is not None})
    assert "torchrun" in raised.value.hint


def test_without_a_launcher_or_with_one_process_nothing_is_set_up():
    assert read_place({}) == (0, 1, 0)
    with connect({"WORLD_SIZE": "1", "RANK": "0"}) as world:
        assert world is ALONE


def test_a_process_whose_others_never_come_says_so(monkeypatch):
    from datetime import timedelta

    monkeypatch.setattr(connect_module, "JOIN", timedelta(seconds=1))
    place = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PrerlkitError, match=r"Process 0 of 2 waited 1 s for the others at 127\.0\.0\.1"), connect():
        raise AssertionError("nobody came")


def check(recipe: dict) -> None:
    checked = Recipe.model_validate(recipe)
    check_settings(checked, None)
    check_processes(checked, 1)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"memory": {"shard_base": True}}, "this run has one"),
        ({"memory": {"shard_base": True}, "model": {"id": "x/y", "quantization": "nf4"}}, "nf4"),
        ({"memory": {"shard_base": True}, "adapter": {"dora": True}, "stages": 1}, "dora"),
        ({"memory": {"shard_base": True}, "reincarnation": "merge"}, "merge"),
    ],
)
def test_a_shared_out_base_is_refused_where_it_can_t_be(tiny_recipe, changes, complaint):
    recipe = tiny_recipe()
    if changes.pop("stages", None):
        del recipe["stages"][1]
    if how := changes.pop("reincarnation", None):
        recipe["stages"][1]["reincarnation"] = how
    with pytest.raises(UsageError, match=complaint):
        check({**recipe, **changes})


def test_more_processes_than_prompts_a_step_are_refused(tiny_recipe):
    recipe = Recipe.model_validate(tiny_recipe())
    check_processes(recipe, 2)
    with pytest.raises(UsageError, match=r'"warmup" has 2 prompts a step for 3 processes'):
        check_processes(recipe, 3)


def test_rows_are_shared_whole_and_about_evenly():
    rows = [TrainRow((p,) * (p + 1), (1,) * length, 1.0, 1.0) for p in range(4) for length in (3, 9, 27)]
    for size in (1, 2, 3, 5):
        shares = [share_rows(rows, rank, size) for rank in range(size)]
        assert sorted(map(repr, rows)) == sorted(repr(row) for share in shares for row in share)
        tokens = [sum(len(r.context) + len(r.completion) for r in share) for share in shares]
        assert max(tokens) - min(tokens) <= 2 * 31, tokens
    split = [{row.context for row in share_rows(rows, rank, 2)} for rank in range(2)]
    assert len(split[0] & split[1]) <= 1
    assert [len(share_rows(rows[:1], rank, 2)) for rank in range(2)] in ([0, 1], [1, 0])
    assert share_rows([], 0, 2) == []


if __name__ == "__main__":
    _rank(Path(sys.argv[1]))
