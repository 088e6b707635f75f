"""`prerlkit:reach`, the model that comes with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from prerlkit.errors import UsageError
from prerlkit.policy import source
from prerlkit.recipe.model import Model


def test_it_is_a_folder_of_the_package_and_needs_no_network() -> None:
    model = Model(id="prerlkit:reach")
    found = source.resolve(model)
    assert Path(found.path).is_dir()
    assert source.cached_config(model) == Path(found.path)
    assert "no network" in source.describe(model)[0]


def test_its_weights_are_the_ones_that_its_page_names() -> None:
    folder = Path(source.resolve(Model(id="prerlkit:reach")).path)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text(encoding="utf-8")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4e6


def test_another_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(UsageError, match="reach"):
        source.resolve(Model(id="prerlkit:reech"))


def test_a_revision_is_refused() -> None:
    with pytest.raises(UsageError, match="revision"):
        source.resolve(Model(id="prerlkit:reach", revision="main"))
