"""What a recipe names as `file.py:Name` really runs: the examples of the docs, in two steps of the tiny model."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.load import load
from prerlkit.recipe.plugins import bind, plugin_files
from prerlkit.recipe.schema import Recipe
from prerlkit.train.validate import check_settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
OWN = {
    "space": "conditional",
    "samples": "all",
    "advantage": "my_loss.py:LeaveOneOut",
    "loss": {"kind": "my_loss.py:Reinforce", "settings": {"scale": 1.0}},
    "aggregate": "token_mean",
}
BUILT_IN = {**OWN, "advantage": "rloo", "loss": "reinforce"}


def example(page: str, name: str) -> str:
    """The code block of a page that begins with the file's name."""
    return re.search(rf"```python\n(# {name}\n.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture
def files(tmp_path):
    """The recipe's folder, with the files of the docs."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    for page, name in (("algorithms.md", "my_loss.py"), ("probes.md", "my_probe.py"), ("engines.md", "my_engine.py")):
        (folder / name).write_text(example(page, name), encoding="utf-8")
    return folder


@pytest.fixture
def made(tiny_recipe):
    """A recipe of one stage of two steps with an objective."""

    def make(objective: dict, **changes) -> dict:
        recipe = tiny_recipe(**changes)
        stage = {**recipe["stages"][1], "objective": copy.deepcopy(objective)}
        return {**recipe, "stages": [stage], "evaluation": {"when": []}}

    return make


def test_a_loss_an_advantage_a_probe_and_an_engine_from_files_give_the_bytes_of_the_built_in_ones(
    go, same_run, lines, made, files, tmp_path
):
    go(made(BUILT_IN), tmp_path / "built_in")
    own = made(OWN, probes=[{"name": "my_probe.py:Words", "every": 2, "settings": {"least": 1}}])
    engine = {"engine": "my_engine.py:Limited", "engine_settings": {"at_once": 64}, "importance_cap": None}
    own["rollout"] = {**own["rollout"], **engine}
    go(own, tmp_path / "own", recipe_folder=files)

    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "own" / weights).read_bytes() == (tmp_path / "built_in" / weights).read_bytes()
    first, second = lines(tmp_path / "own" / "metrics.jsonl")
    assert first["optim/grad_norm"] > 0
    assert {"probe/words/mean", "probe/words/any", "time/probe/Words"} <= set(first)
    assert "probe/words/mean" not in second  # every: 2
    assert [line["Words"]["counts"] for line in lines(tmp_path / "own" / "probes.jsonl")]

    written = (tmp_path / "own" / "recipe.yaml").read_text()
    assert "my_loss.py:Reinforce" in written
    assert str(files) not in written
    digest = hashlib.sha256((files / "my_loss.py").read_bytes()).hexdigest()
    plugins = json.loads((tmp_path / "own" / "environment.json").read_text())["plugins"]
    assert plugins["my_loss.py:Reinforce"] == digest
    assert set(plugins) == {"my_loss.py:Reinforce", "my_loss.py:LeaveOneOut", "my_engine.py:Limited"}


def test_a_run_continues_with_the_same_file_only(go, same_run, made, files, tmp_path):
    own = made(OWN, output={"checkpoint_every": 1})
    go(own, tmp_path / "straight", recipe_folder=files)
    go(own, tmp_path / "parts", recipe_folder=files, stop_after=1)
    file = files / "my_loss.py"
    before = file.read_text()
    file.write_text(before + "\n# changed\n")
    with pytest.raises(UsageError, match=r"my_loss.py:\w+ is not the file that .* was made with"):
        go(own, tmp_path / "parts", recipe_folder=files, existing="resume")
    file.write_text(before)
    go(own, tmp_path / "parts", recipe_folder=files, existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")


def test_looking_at_a_recipe_imports_no_file_and_checking_it_does(made, recipe_text, tmp_path):
    (tmp_path / "bomb.py").write_text("raise SystemExit('imported')\n")
    recipe = made({**OWN, "advantage": "rloo", "loss": "bomb.py:Loss"})
    loaded = load(str(recipe_text(recipe)))
    assert plugin_files(loaded.recipe) == {"stages[0].objective[0].loss": "bomb.py:Loss"}
    assert plugin_files(bind(loaded.recipe, loaded.folder))["stages[0].objective[0].loss"] == f"{tmp_path}/bomb.py:Loss"
    with pytest.raises(
        UsageError, match=r"objective\[0\].loss: .*bomb.py fails to import: SystemExit: imported .*line 1"
    ):
        check_settings(loaded.recipe, loaded.folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": "no_file.py:Loss"}, r"stages\[0\].objective\[0\].loss: no file no_file.py or .*no_file.py"),
        (
            {"loss": "my_loss.py:Reinforced"},
            r'objective\[0\].loss: .*my_loss.py has no Reinforced; did you mean "Reinf',
        ),
        (
            {"loss": "my_loss.py:LeaveOneOut"},
            r"loss: .*my_loss.py:\d+: LeaveOneOut is not a subclass of .*LossFunction",
        ),
        (
            {"advantage": "my_loss.py:Reinforce"},
            r"advantage: .*my_loss.py:\d+: Reinforce is not a subclass of .*Advantage",
        ),
        (
            {"loss": {"kind": "my_loss.py:Reinforce", "settings": {"scal": 2.0}}},
            r'no setting scal; did you mean "scale"',
        ),
        (
            {"loss": {"kind": "my_loss.py:Reinforce", "settings": {"scale": -1.0}}},
            r"setting scale: .*greater than 0, not -1",
        ),
    ],
)
def test_mistakes_name_file_line_and_key(made, files, change, words):
    with pytest.raises(UsageError, match=words):
        check_settings(Recipe.model_validate(made({**OWN, **change})), files)


def test_mistakes_of_engines_and_probes(made, files):
    recipe = made(BUILT_IN)
    recipe["rollout"] = {**recipe["rollout"], "engine": "my_engine.py:Limited", "top_k": 3}
    with pytest.raises(UsageError, match=r"rollout.engine: .*my_engine.py:Limited: this engine has no top_k"):
        check_settings(Recipe.model_validate(recipe), files)
    with pytest.raises(UsageError, match=r"probes\[0\].name: .*my_probe.py has no Word; did you mean"):
        check_settings(Recipe.model_validate(made(BUILT_IN, probes=["my_probe.py:Word"])), files)
    (files / "half.py").write_text("from prerlkit.probes.protocol import Probe\n\nclass Half(Probe):\n    pass\n")
    with pytest.raises(UsageError, match=r"half.py:3: Half lacks measure"):
        check_settings(Recipe.model_validate(made(BUILT_IN, probes=["half.py:Half"])), files)


def test_a_rule_may_ask_for_a_metric_of_a_files_probe(made, files):
    recipe = made(BUILT_IN, probes=["my_probe.py:Words"])
    recipe["stages"][0]["until"] = {"metric": "probe/words/mean", "below": 1.0}
    check_settings(Recipe.model_validate(recipe), files)


def test_a_loss_of_another_shape_stops_the_run(go, made, files, tmp_path):
    (files / "sum.py").write_text(
        "from prerlkit.objective.plugins import LossFunction\n\n\nclass Sum(LossFunction):\n"
        "    def token_losses(self, terms):\n        return terms.logprobs_N.sum(), terms.logprobs_N\n"
    )
    with pytest.raises(
        PrerlkitError, match=r"sum.py:Sum: token_losses gave shapes \[\] and \[\d+\] for \[\d+\] tokens"
    ):
        go(made({**BUILT_IN, "loss": "sum.py:Sum"}), tmp_path / "out", recipe_folder=files)


def test_recipes_with_built_in_probes_and_engines_are_checked_without_torch():
    """Their files hold settings and checks, and are imported for each recipe: torch is imported inside functions."""
    code = (
        "import sys; from prerlkit.recipe.load import load; load('smoke', ['rollout.engine=vllm', 'probes=[drift]']); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_a_plan_traces_a_files_loss_as_it_does_a_built_in_one(made, files, tiny_model):
    from prerlkit.plan.device import Device
    from prerlkit.plan.plan import make_plan

    card = Device("a card", "cuda", 24 << 30, 0)
    built_in, own = Recipe.model_validate(made(BUILT_IN)), bind(Recipe.model_validate(made(OWN)), files)
    planned = [make_plan(recipe, str(tiny_model), card).needed for recipe in (built_in, own)]
    assert planned[1] == pytest.approx(planned[0], rel=0.01)
