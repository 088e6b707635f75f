"""A card that torch can't use is refused with what it needs; a hidden one, and none at all, mean the CPU."""

from __future__ import annotations

import pytest
import torch

from prerlkit.errors import UsageError
from prerlkit.plan.device import at_hand
from prerlkit.policy import cards
from prerlkit.policy.base import pick_device


@pytest.fixture
def machine(monkeypatch):
    """A machine with cards that torch can't use: the driver of each and torch's CUDA."""

    def make(driver: str, built: str | None) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(cards, "nvidia_cards", lambda: [f"{driver}, NVIDIA GeForce RTX 4090"])
        monkeypatch.setattr(torch.version, "cuda", built)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    return make


@pytest.mark.parametrize(
    ("driver", "built", "said"),
    [
        ("580.65.06", None, "CPU build"),
        ("535.1", "13.0", "needs 580 or newer"),
        ("470.2", "12.6", "needs 525 or newer"),
        ("580.65.06", "13.0", "torch sees no card"),
    ],
)
@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_card_that_torch_can_not_use_is_refused(machine, driver, built, said, wanted):
    machine(driver, built)
    for choose in (pick_device, at_hand):
        with pytest.raises(UsageError, match=said) as caught:
            choose(wanted)
        assert "model.device=cpu" in caught.value.hint
    assert pick_device("cpu").type == "cpu"


def test_a_hidden_card_is_none(machine, monkeypatch):
    machine("535.1", "13.0")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert pick_device("auto").type == "cpu"


def test_nvidia_smi_is_started_once_per_process(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho started >> '{tmp_path}/log'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for _ in range(3):
        assert pick_device("auto").type == "cpu"
    assert (tmp_path / "log").read_text().splitlines() == ["started"]


def test_a_machine_without_a_card_means_the_cpu(monkeypatch):
    monkeypatch.setattr(cards, "nvidia_cards", list)
    assert pick_device("auto").type == "cpu"
