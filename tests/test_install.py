"""The command that adds an optional part can be typed where this program comes from."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from prerlkit.install import pip_install


class Installed:
    def __init__(self, written):
        self.written = written

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.written


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "a checkout"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    return folder


def come_from(monkeypatch, url):
    written = None if url is None else json.dumps({"url": url, "dir_info": {}})
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(written))


def test_in_a_checkout_it_names_the_checkout(monkeypatch, checkout, tmp_path):
    come_from(monkeypatch, checkout.as_uri())
    monkeypatch.chdir(tmp_path)
    assert pip_install("vllm") == f"pip install '{checkout}[vllm]'"
    monkeypatch.chdir(checkout)
    assert pip_install("vllm") == "pip install '.[vllm]'"


@pytest.mark.parametrize("url", [None, "https://host/prerlkit.whl", "file:///nowhere/at/all"])
def test_elsewhere_it_names_the_distribution(monkeypatch, url):
    come_from(monkeypatch, url)
    assert pip_install("vllm") == "pip install 'prerlkit[vllm]'"
