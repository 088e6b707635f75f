"""A recipe that sends keys or rows to a host is asked about, as code is."""

from __future__ import annotations

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe.schema import Recipe, VerifierConfig
from prerlkit.trust import of_recipe, of_verifiers, require, store


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def judge(url: str, *environment: str) -> VerifierConfig:
    settings = {"url": url, "model": "m", "prompt": "{completion}"}
    return VerifierConfig(name="judge", settings=settings, environment=environment)


def test_a_judge_of_this_machine_without_a_key_is_not_asked_about(tmp_path):
    assert of_verifiers([judge("http://127.0.0.1:8000/v1")], tmp_path) == ()


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (judge("https://judge.example/v1"), "judge sends rows and completions (https://judge.example/v1"),
        (judge("http://localhost/v1", "HF_TOKEN"), "judge gets HF_TOKEN (http://localhost/v1"),
        (VerifierConfig(name="math", environment=("HF_TOKEN",)), "math gets HF_TOKEN"),
        (VerifierConfig(name="judge", settings={"url": "http://[", "model": 3}), "judge sends"),
    ],
)
def test_what_is_sent_is_named_and_allowed_until_it_changes(use, said, tmp_path):
    with pytest.raises(UsageError, match="send away what is yours") as error:
        require(of_verifiers([use], tmp_path), tmp_path, trust=False)
    assert said in str(error.value)
    require(of_verifiers([use], tmp_path), tmp_path, trust=True)
    require(of_verifiers([use], tmp_path), tmp_path, trust=False)
    other = use.model_copy(update={"settings": {**use.settings, "url": "https://elsewhere.example/v1"}})
    with pytest.raises(UsageError, match=r"elsewhere\.example"):
        require(of_verifiers([other], tmp_path), tmp_path, trust=False)


def recipe_with(**sections) -> Recipe:
    base = {
        "name": "r",
        "model": {"id": "some/model"},
        "data": {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "held_out", "rows": 2}},
        "verifiers": [{"name": "math"}],
        "stages": [{"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-4}],
    }
    return Recipe.model_validate({**base, **sections})


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"rollout": {"engine": "vllm", "vllm": {"server": "http://theirs.example:8000"}}},
            "rollout.vllm.server: sends prompts, adapters' paths and VLLM_API_KEY (http://theirs.example:8000",
        ),
        (
            {
                "rollout": {
                    "engine": "vllm",
                    "vllm": {"server": ["http://127.0.0.1:1", "http://127.0.0.1.theirs.example"]},
                }
            },
            "(http://127.0.0.1.theirs.example",
        ),
        (
            {"output": {"trackers": [{"kind": "trackio", "space": "theirs/space"}]}},
            "output.trackers: trackio sends metrics and the Hub's token (theirs/space",
        ),
    ],
)
def test_a_server_or_a_space_that_a_recipe_names_gets_nothing_unasked(sections, said, tmp_path):
    """Before: a foreign recipe's own server got VLLM_API_KEY and the rows, its Space the token of the Hub."""
    recipe = recipe_with(**sections)
    with pytest.raises(UsageError, match="send away what is yours") as error:
        require(of_recipe(recipe, tmp_path), tmp_path, trust=False)
    assert said in str(error.value)
    require(of_recipe(recipe, tmp_path), tmp_path, trust=True)
    require(of_recipe(recipe, tmp_path), tmp_path, trust=False)


@pytest.mark.parametrize(
    "sections",
    [
        {"rollout": {"engine": "vllm", "vllm": {"server": ["http://127.0.0.1:8000", "http://localhost:8001"]}}},
        {"rollout": {"engine": "hf", "vllm": {"server": "http://theirs.example:8000"}}},
        {"output": {"trackers": ["trackio", "tensorboard", {"kind": "wandb", "online": True}]}},
    ],
)
def test_what_stays_here_or_goes_to_the_users_own_account_is_not_asked_about(sections, tmp_path):
    assert of_recipe(recipe_with(**sections), tmp_path) == ()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.theirs.example/v1",
        "http://localhost.theirs.example/v1",
        "http://theirs.example#@127.0.0.1/",
        "http://127.0.0.1\\@theirs.example/v1",
        "http://[::ffff:8.8.8.8]/v1",
        "http://0x7f000001.theirs.example/v1",
        "http://127.0.0.1%2f@theirs.example/v1",
        "http://\uff11\uff12\uff17.0.0.1.theirs.example/v1",
    ],
)
def test_an_address_that_only_looks_like_this_machine_is_asked_about(url, tmp_path):
    assert of_verifiers([judge(url)], tmp_path)


def test_what_was_allowed_is_not_read_from_the_folder_that_somebody_sent(tmp_path, monkeypatch):
    """With a relative XDG_CONFIG_HOME a `trusted.json` in the working directory allowed everything."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert store() == tmp_path / "home" / ".config" / "prerlkit" / "trusted.json"
