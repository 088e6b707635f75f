"""What a resume compares with the run that it continues: recipe, data, metrics and the recipe's folder."""

from __future__ import annotations

import json
import os

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.train import resume


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, ["- seed: 0", "+ seed: 1"]),
        ({"adapter": {"rank": 4, "alpha": 4}}, ["- adapter.rank: 2", "+ adapter.rank: 4"]),
        ({"verifiers": [{"name": "math"}]}, ["- verifiers[0].name", "+ verifiers[0].name"]),
        ({"reward": "product"}, ["reward"]),
    ],
)
def test_a_changed_recipe_is_refused_with_a_diff(go, tiny_recipe, tmp_path, change, said):
    go(tiny_recipe(), tmp_path / "out", stop_after=1)
    with pytest.raises(UsageError, match="was started with another recipe") as error:
        go(tiny_recipe(**change), tmp_path / "out", existing="resume")
    for part in said:
        assert part in error.value.message
    assert "What may change" in error.value.hint


def test_what_watches_and_bounds_a_run_may_change(go, tiny_recipe, tmp_path):
    def on(*servers):
        return {**tiny_recipe()["rollout"], "vllm": {"server": servers}}

    go(tiny_recipe(rollout=on("http://a:1", "http://b:1")), tmp_path / "out", stop_after=1)
    changes = {
        "description": "now with more memory",
        "rollout": on("http://b:1"),
        "evaluation": {"prompts": 2},
        "health": {"window": 3},
        "memory": {"microbatch_tokens": 512},
        "output": {"samples_per_step": 1},
    }
    summary, callback = go(tiny_recipe(**changes), tmp_path / "out", existing="resume")
    assert summary.exit_reason == "completed"
    changed = [note.split()[2] for note in callback.notes if note.startswith("recipe changed")]
    servers = [f"{where}rollout.vllm.server[{i}]" for where in ("", "stages[0].", "stages[1].") for i in (0, 1)]
    assert sorted(key for key in changed if "rollout" in key) == sorted(servers)
    others = sorted(key.split(".")[0] for key in changed if key not in servers)
    assert others == ["description", "evaluation", "health", "memory", "output"]
    with pytest.raises(UsageError, match=r"rollout\.vllm\.server"):  # an engine of its own may hold another base
        go(tiny_recipe(), tmp_path / "out", existing="resume")


def test_steps_that_are_done_cannot_be_taken_back(go, tiny_recipe, tmp_path):
    go(tiny_recipe(), tmp_path / "out", stop_after=3)
    other = tiny_recipe()
    other["stages"] = [{**other["stages"][0], "steps": 3}, other["stages"][1]]
    with pytest.raises(UsageError, match="steps of a finished stage can't change"):
        go(other, tmp_path / "out", existing="resume")
    other["stages"] = [tiny_recipe()["stages"][0], {**other["stages"][1], "steps": 0}]
    with pytest.raises(UsageError, match='stage "rl" has done 1 steps; the recipe now gives it 0'):
        go(other, tmp_path / "out", existing="resume")
    summary, _ = go(tiny_recipe(), tmp_path / "out", existing="resume")
    assert summary.exit_reason == "completed"


def rows(path, count, first=0):
    path.write_text("".join(json.dumps({"question": f"q{i}", "answer": "1"}) + "\n" for i in range(first, count)))
    return {"train": {"kind": "file", "path": str(path)}, "eval": {"kind": "held_out", "rows": 2}}


def test_data_that_changed_meanwhile_is_refused(go, tiny_recipe, tmp_path):
    data = rows(tmp_path / "rows.jsonl", 12)
    go(tiny_recipe(data=data), tmp_path / "out", stop_after=1)
    rows(tmp_path / "rows.jsonl", 13)
    with pytest.raises(UsageError, match="The train prompts are not those"):
        go(tiny_recipe(data=data), tmp_path / "out", existing="resume")


def test_a_hole_in_the_metrics_is_said_and_not_papered_over(go, tiny_recipe, tmp_path):
    go(tiny_recipe(), tmp_path / "out", stop_after=3)
    metrics = tmp_path / "out" / "metrics.jsonl"
    first, _, third = metrics.read_text().splitlines(keepends=True)
    metrics.write_text(first + third)
    with pytest.raises(PrerlkitError, match="line 2 is not step 2, and the checkpoint is at step 3"):
        go(tiny_recipe(), tmp_path / "out", existing="resume")


def test_an_edited_recipe_in_the_run_folder_is_refused_with_a_diff(go, tiny_recipe, tmp_path):
    """`prerlkit resume RUN` reads the recipe from there: checkpoints hold the one that they come from."""
    from prerlkit.recipe.load import load

    go(tiny_recipe(), tmp_path / "out", stop_after=3)
    recipe = tmp_path / "out" / "recipe.yaml"
    text = recipe.read_text()
    for old, new, key in (("seed: 0\n", "seed: 1\n", "seed"), ("group_size: 4", "group_size: 5", "rollout.group_size")):
        assert old in text
        recipe.write_text(text.replace(old, new))
        edited = load(str(recipe)).recipe.model_dump(mode="json")
        with pytest.raises(UsageError, match=r"step-000003 was started with another recipe") as error:
            go(edited, tmp_path / "out", existing="resume")
        assert f"+ {key}" in error.value.message
    recipe.write_text(text.replace("description: ''", "description: more memory"))
    summary, _ = go(load(str(recipe)).recipe.model_dump(mode="json"), tmp_path / "out", existing="resume")
    assert summary.exit_reason == "completed"


def test_a_refused_resume_leaves_a_completed_run_completed(go, tiny_recipe, tmp_path):
    from prerlkit.runs.run import Run

    data = rows(tmp_path / "rows.jsonl", 12)
    go(tiny_recipe(data=data), tmp_path / "out")
    rows(tmp_path / "rows.jsonl", 13)
    with pytest.raises(UsageError, match="The train prompts are not those"):
        go(tiny_recipe(data=data), tmp_path / "out", existing="resume")
    assert Run.open(tmp_path / "out").state == "completed"


def test_resume_needs_nothing_but_the_folder(go, tiny_recipe, tmp_path):
    """`prerlkit resume RUN`: the recipe's own folder is known, for data next to it."""
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    (tmp_path / "project").mkdir()
    data = rows(tmp_path / "project" / "rows.jsonl", 12)
    data["train"]["path"] = "rows.jsonl"
    out = tmp_path / "out"
    go(tiny_recipe(data=data), out, stop_after=1, recipe_folder=tmp_path / "project")
    assert os.getcwd() != str(tmp_path / "project")
    done = CliRunner().invoke(app, ["resume", str(out), "--set", "stages.rl.steps=3"])
    assert done.exit_code == 0, done.stderr
    assert "resuming after step 1" in done.stdout
    assert json.loads((out / "summary.json").read_text())["steps"] == 5


@pytest.mark.parametrize("changed", [False, True])
def test_a_checkpoint_of_a_version_with_another_digest_of_the_prompts(go, same_run, tiny_recipe, tmp_path, changed):
    """It was of the tokens of all prompts; such a run can still be continued."""
    data = rows(tmp_path / "rows.jsonl", 12)
    go(tiny_recipe(data=data), tmp_path / "straight")
    with pytest.MonkeyPatch.context() as patch:
        real = resume.origin

        def earlier(prepared, *rest):
            found = real(prepared, *rest)
            del found["prompts"]
            found["data"] = {"train": DIGESTS[0], "eval": DIGESTS[1]}
            return found

        patch.setattr(resume, "origin", earlier)
        go(tiny_recipe(data=data), tmp_path / "out", stop_after=3)
    if changed:
        rows(tmp_path / "rows.jsonl", 13)
        with pytest.raises(UsageError, match="The train prompts are not those"):
            go(tiny_recipe(data=data), tmp_path / "out", existing="resume")
    else:
        go(tiny_recipe(data=data), tmp_path / "out", existing="resume")
        same_run(tmp_path / "straight", tmp_path / "out")


DIGESTS = (
    "3d59f4c963f458b2194500ee6143151008887c0df1d806f0cd058a4ad4683a33",
    "a42d6e455a289db2e2fade6db7ba318d52ec7f366441ed6588f3b92fb5c60ad1",
)
"""Of train and eval, written by the version before, for the twelve rows."""
