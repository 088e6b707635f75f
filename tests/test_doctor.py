"""`prerlkit doctor` on machines that are not here: faked at the edges of torch, nvidia-smi and the package index."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from prerlkit.doctor import machine as health
from prerlkit.install import pip_install
from prerlkit.policy.cards import nvidia_cards
from prerlkit.rollout.leftovers import LeftoverEngine


@pytest.fixture
def with_card(monkeypatch):
    """As if there were one card, seen by torch."""
    import torch

    about = SimpleNamespace(name="NVIDIA GeForce RTX 4090", total_memory=24 * 2**30, major=8, minor=9)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (20 * 2**30, 24 * 2**30))
    monkeypatch.setattr("prerlkit.policy.cards.nvidia_cards", lambda: ["580.65.06, NVIDIA GeForce RTX 4090"])


def test_a_card_that_torch_sees(with_card):
    found = health.gpu()
    assert found.fine
    text = "\n".join(found.lines)
    assert "RTX 4090, 24.0 GiB (20.0 free), compute capability 8.9, bfloat16 yes" in text
    assert "580.65.06" in text


def test_an_engine_that_a_dead_run_left_is_a_fault_with_its_process(with_card, monkeypatch):
    monkeypatch.setattr(health, "leftover_engines", lambda: [LeftoverEngine(4321, 3 * 2**30)])
    found = health.gpu()
    assert not found.fine
    assert "process 4321, 3.0 GiB of host memory, of a run that ended: kill -9 4321" in "\n".join(found.lines)


def test_a_card_that_a_cpu_build_of_torch_does_not_see_is_a_fault(monkeypatch):
    monkeypatch.setattr("prerlkit.policy.cards.nvidia_cards", lambda: ["580.65.06, NVIDIA GeForce RTX 4090"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    found = health.gpu()
    assert not found.fine
    assert any("torch is a CPU build" in line for line in found.lines)
    assert any(line.startswith("install") for line in found.lines)


def test_the_driver_is_read_from_nvidia_smi(monkeypatch, tmp_path):
    def install(folder, script):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / folder), prepend=":")

    install("card", "echo '535.1, Tesla T4'")
    assert nvidia_cards() == ["535.1, Tesla T4"]
    install("no card", "echo 'no devices were found'; exit 6")
    assert nvidia_cards() == []


def test_a_version_that_is_not_accepted_is_named_with_what_to_install(monkeypatch):
    real = health._version
    monkeypatch.setattr(health, "_version", lambda name: "4.1.0" if name == "transformers" else real(name))
    found = health.packages()
    assert not found.fine
    assert any("4.1.0" in line and "pip install 'transformers==" in line for line in found.lines)
    assert any(line.startswith("torch") and "not accepted" not in line for line in found.lines)


def test_bitsandbytes_is_tried_and_an_engine_that_is_absent_is_no_fault(monkeypatch):
    monkeypatch.setattr(health.importlib.util, "find_spec", lambda name: None)
    found = health.extras()
    assert found.fine
    assert any("NF4 works on cpu" in line for line in found.lines)
    assert any(line.startswith("vllm") and pip_install("vllm") in line for line in found.lines)


def test_a_full_disk_is_a_fault(monkeypatch):
    monkeypatch.setattr(health.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert not health.disk().fine


def test_a_token_is_present_and_never_shown(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    text = "\n".join(health.hub().lines)
    assert "present" in text
    assert "secret" not in text


def test_recipes_are_sorted_by_whether_they_fit():
    """By formula: 16 GiB hold the weights of a 4B model in 4 bit, and its run perhaps; 1 GiB holds none of them."""
    from prerlkit.doctor.recipes import recipes
    from prerlkit.plan.device import Device, card

    def group(text, label):
        lines = text.splitlines()
        begin = next((n for n, line in enumerate(lines) if line.startswith(label)), len(lines) - 1) + 1
        own = [line for line in lines[begin:] if line.startswith(" ")]
        end = next((n for n, line in enumerate(lines[begin:]) if not line.startswith(" ")), len(own))
        return " ".join(lines[begin : begin + end])

    small = "\n".join(recipes(Device("this machine's memory", "cpu", 5 * 2**30, 2**30)).lines)
    assert "free              5.0 GiB of this machine's memory" in small
    assert "reach_dsrl (1." in group(small, "fit")
    assert "quickstart_dsrl (4." in group(small, "fit")
    assert "math_dsrl_12gb" in group(small, "may fit") + group(small, "too large")
    large = "\n".join(recipes(card("rtx4090")).lines)
    assert "math_dsrl (23." in group(large, "fit")
    assert "math_dsrl_16gb (" in group(large, "may fit")
    assert "too large" not in large


def test_the_processor_is_named_with_its_memory_and_dtypes():
    text = "\n".join(health.processor().lines)
    assert re.search(r"cores             \d+", text)
    assert re.search(r"memory            [\d.]+ GiB free of [\d.]+", text)
    assert "float32, bfloat16" in text
