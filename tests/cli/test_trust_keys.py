"""A recipe that sends keys or rows to a host is asked about, as code is."""

from __future__ import annotations

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.trust import of_verifiers, require


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
