"""`dtype: auto` by what a machine's files say of it."""

from __future__ import annotations

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe import products
from prerlkit.recipe.dtype import auto
from prerlkit.recipe.load import dump, load, read_yaml
from prerlkit.recipe.model import Model
from prerlkit.recipe.products import measured_rates


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes a machine's /proc and /dev and gives their root."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(cpuinfo="", *files):
        for name, text in [("proc/cpuinfo", cpuinfo), *((name, "") for name in files)]:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: AMD\nflags\t\t: fpu avx2 avx512_bf16 sse\n", "bfloat16"),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", "bfloat16"),
        ("Features\t: fp asimd bf16 i8mm\n", "bfloat16"),
        ("flags\t\t: fpu avx2 avx512f\n", "float32"),
        ("model name\t: a bf16 machine\nflags\t\t: fpu\n", "float32"),
        ("", "float32"),
    ],
)
def test_a_cpu_says_what_it_computes_in(machine, cpuinfo, expected):
    assert auto("cpu", machine(cpuinfo), lambda root: {"float32": 1.0, "bfloat16": 2.0}) == expected


def test_a_cpu_whose_bfloat16_is_slow_computes_in_float32(machine):
    root = machine("flags\t: fpu avx512_bf16\n")
    assert auto("cpu", root, lambda root: {"float32": 153.0, "bfloat16": 82.0}) == "float32"


def test_rates_are_measured_once_for_a_processor_and_a_build_of_torch(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))
    made = []
    monkeypatch.setattr(products, "_measure", lambda: made.append(1) or {"float32": 5.0, "bfloat16": 7.0})
    root = machine("flags\t: fpu avx512_bf16\n")
    assert measured_rates(root) == measured_rates(root) == {"float32": 5.0, "bfloat16": 7.0}
    assert len(made) == 1
    measured_rates(machine("flags\t: fpu amx_bf16\n"))
    assert len(made) == 2
    file = tmp_path / "cache" / "machine.json"
    for text in ("[1, 2", file.read_text().replace("5.0", '"fast"')):
        before = len(made)
        file.write_text(text)
        assert measured_rates(root) == {"float32": 5.0, "bfloat16": 7.0}
        assert len(made) == before + 1


def test_a_measurement_is_quick_and_leaves_threads_alone():
    import time

    import torch

    before, begun = torch.get_num_threads(), time.process_time()
    rates = products._measure()
    assert time.process_time() - begun < 5  # half a second; a processor without the instructions takes longer
    assert torch.get_num_threads() == before
    assert min(rates.values()) > 0


def test_a_gpu_counts_unless_the_cpu_is_asked_for_or_the_gpu_is_hidden(machine, monkeypatch):
    root = machine("flags\t: fpu\n", "dev/nvidiactl")
    assert (auto("auto", root), auto("cuda", root), auto("cpu", root)) == ("bfloat16", "bfloat16", "float32")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert auto("auto", root) == "float32"


def test_a_machine_without_proc_computes_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert auto("auto", tmp_path) == "float32"
    monkeypatch.setattr("shutil.which", lambda name: "/bin/nvidia-smi")  # Windows, say
    assert auto("auto", tmp_path) == "bfloat16"


def test_a_recipe_never_holds_auto_and_its_dump_says_what_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr("prerlkit.recipe.model.auto", lambda device: "float32")
    recipe = load("quickstart_dsrl").recipe
    assert recipe.model.dtype == "float32"
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    assert read_yaml(tmp_path / "recipe.yaml")["model"]["dtype"] == "float32"
    assert Model(id="x").dtype == "bfloat16"


def test_a_wrong_dtype_is_told_all_that_there_are():
    with pytest.raises(UsageError, match=r"model\.dtype: expected auto, bfloat16, float16, float32, got 'bf16'"):
        load("quickstart_dsrl", ["model.dtype=bf16"])
