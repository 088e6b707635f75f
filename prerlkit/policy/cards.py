"""NVIDIA cards of this machine, and why torch can't use them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

import torch

LEAST_DRIVER = {"12": 525, "13": 580}
"""The oldest driver for a major version of CUDA, by NVIDIA's table of compatibility."""
INSTALL = "pip install --force-reinstall 'torch==2.13.0' from the index with CUDA builds"
_HIDDEN = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES by which a user hides every card."""


def nvidia_cards() -> list[str]:
    """Return a line for each card, driver and name. Empty without nvidia-smi or without a card."""
    program = shutil.which("nvidia-smi")
    return [] if program is None else list(_listed(program))


@cache
def _listed(program: str) -> tuple[str, ...]:
    """Return what nvidia-smi lists, once per process: it may take seconds, and a run picks its device several times."""
    command = [program, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ()


def unusable_card() -> tuple[str, str] | None:
    """Return why torch can't use this machine's card and what to install; None where it can, or there is no card.

    A card that is hidden by CUDA_VISIBLE_DEVICES is none.
    """
    if torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES") in _HIDDEN:
        return None
    cards = nvidia_cards()
    if not cards:
        return None
    built = torch.version.cuda
    if built is None:
        return f"torch is a CPU build ({torch.__version__})", INSTALL
    least = LEAST_DRIVER.get(built.split(".")[0], max(LEAST_DRIVER.values()))
    driver = cards[0].split(",")[0]
    found = re.match(r"\d+", driver)
    if found and int(found[0]) < least:
        return (
            f"its driver {driver} is too old for torch's CUDA {built}, which needs {least} or newer",
            f"Update NVIDIA's driver to {least} or newer and restart the machine",
        )
    return "torch sees no card, though the driver does", "In a container, start it with the card (docker: --gpus all)"
