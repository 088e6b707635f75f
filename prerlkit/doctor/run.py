"""`prerlkit doctor --run`: every check on this machine's device, and the report of it as plain data."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import prerlkit
from prerlkit.doctor import engine_checks, policy_checks, tiny
from prerlkit.doctor.check import Bench, Check, CheckResult, run_checks
from prerlkit.doctor.machine import DoctorFinding
from prerlkit.engines.registry import known_engines
from prerlkit.policy.base import pick_device


def checks() -> Mapping[str, Check]:
    """Return all checks by name, quick and basic ones first."""
    engines = {
        f"rollouts: {engine.name}": partial(engine_checks.rollouts, engine=engine.name) for engine in known_engines()
    }
    return {
        "load: 16 bit": policy_checks.loads,
        "load: nf4": partial(policy_checks.loads_quantized, quantization="nf4"),
        "load: int8": partial(policy_checks.loads_quantized, quantization="int8"),
        "load: unsloth": engine_checks.unsloth_loads,
        "gradient: pre-train space": partial(policy_checks.one_gradient, stage=0),
        "gradient: conditional": partial(policy_checks.one_gradient, stage=1),
        **{
            f"optimizer: {name}": partial(policy_checks.optimizer_steps, name=name)
            for name in ("adamw", "adamw_8bit", "paged_adamw_8bit")
        },
        "memory: planned, measured": policy_checks.memory,
        **engines,
        "stop and resume": engine_checks.resumes,
    }


def run_all(on_result: Callable[[CheckResult], None], device: str = "auto") -> list[CheckResult]:
    """Run every check on `device` and return the results.

    Args:
        on_result: receives each as it is there.

    Raises:
        UsageError: the machine has a card that torch can't use.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="prerlkit-doctor-") as name:
        folder = Path(name)
        tiny.write_model(folder / "model")
        bench = Bench(folder, folder / "model", pick_device(device).type)
        for result in run_checks(checks(), bench):
            results.append(result)
            on_result(result)
    return results


def report(findings: Mapping[str, DoctorFinding], results: Sequence[CheckResult]) -> dict[str, Any]:
    """Return machine and results as JSON's types, for a bug report.

    It holds no token and no host name. A note may quote a path out of an error.
    """
    return {
        "prerlkit": prerlkit.__version__,
        "platform": platform.platform(),
        "machine": {
            title: {"fine": found.fine, "lines": list(found.lines)}
            for title, found in findings.items()
            if title not in ("disk", "Hugging Face Hub")
        },
        "checks": [
            {
                "name": result.name,
                "verdict": result.verdict,
                "seconds": round(result.seconds, 2),
                "figures": {name: float(f"{value:.4g}") for name, value in result.figures.items()},
                "note": result.note,
            }
            for result in results
        ],
    }
