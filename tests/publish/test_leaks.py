"""Nothing secret and no path of this machine is in what is uploaded."""

from __future__ import annotations

import pytest

from prerlkit.errors import PrerlkitError
from prerlkit.publish import leaks
from prerlkit.publish.push import public_recipe, push
from prerlkit.recipe.schema import Recipe


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("token: hf_" + "a1B2" * 9, "a Hugging Face token"),
        ("key: sk-proj-" + "A1b2" * 10, "an API key"),
        ("AKIA" + "ABCD1234EFGH5678", "an AWS key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("db: postgres://me:secret@host/x", "a password in an address"),
        ("path: /home/ann/data.jsonl", "a path that looks local"),
        ("path: C:\\Users\\ann", "a path that looks local"),
        ("it is mytoken", "the token that is used for uploading"),
        ("see /x/runs/one/adapter", "a path of this machine"),
    ],
)
def test_secrets_and_local_paths_are_found(text, what):
    with pytest.raises(PrerlkitError, match=what) as error:
        leaks.check_leaks([("notes.md", f"fine\n{text}\n".encode())], own=["/x/runs/one"], secrets=["mytoken"])
    assert "notes.md, line 2" in error.value.message
    assert "a1B2" not in error.value.message


def test_innocent_texts_and_vocabularies_pass():
    fine = b"https://huggingface.co/home/x see docs/home/x and 3 / 4; a/b; runs/one; ratio 1/2, hf_hub"
    leaks.check_leaks([("README.md", fine)], own=["/x/runs/one"], secrets=["mytoken"])
    leaks.check_leaks([("tokenizer.json", b'{"/home/x": 17}')], own=["/x/runs/one"], secrets=["mytoken"])


def test_a_published_recipe_names_verifiers_files_without_their_folder():
    base = {
        "name": "r",
        "model": {"id": "some/model"},
        "data": {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "held_out", "rows": 2}},
        "verifiers": [
            {"name": "/srv/me/rewards.py:brief"},
            {"name": "python", "settings": {"function": "/srv/me/rewards.py:brief", "pass_at": 0.5}},
            {"name": "environment", "settings": {"id": "/srv/me/env.py", "args": {"n": 1}}},
            {"name": "environment", "settings": {"id": "owner/my-env"}},
        ],
        "stages": [{"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-4}],
    }
    uses = public_recipe(Recipe.model_validate(base), None).verifiers
    assert [(use.name, use.settings) for use in uses] == [
        ("rewards.py:brief", {}),
        ("python", {"function": "rewards.py:brief", "pass_at": 0.5}),
        ("environment", {"id": "env.py", "args": {"n": 1}}),
        ("environment", {"id": "owner/my-env"}),
    ]


def test_a_secret_in_the_recipe_stops_a_push(finished):
    (finished / "checksums.json").unlink()  # the recipe below is not the one that the run wrote
    recipe = (finished / "recipe.yaml").read_text()
    (finished / "recipe.yaml").write_text(recipe.replace("description: ''", f"description: hf_{'a1B2' * 9}"))
    with pytest.raises(PrerlkitError, match="holds a Hugging Face token; nothing was uploaded"):
        push(finished, "me/sums", merged=True, dry_run=True)
