"""Build, load and use the simulated CUDA device of device.cpp.

    device = load()        # before anything imports torch
    device.install()       # before anything imports transformers

What Python asks of a CUDA build (`torch.cuda`, `torch.accelerator`) is answered from here. Memory is the host's:
counted, and limited by `device.limit`. Each place where the host would wait for the device is counted by source line.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

SOURCE = Path(__file__).with_name("device.cpp")
MEMORY = 24 << 30
NAME = "simulated RTX 4090"
_PACKAGE = "/prerlkit/"
_REPORT = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


def build() -> Path:
    """Compile the device for the installed torch, once for each version of either; takes about a minute."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    torch = Path(spec.origin).parent
    key = hashlib.sha256(SOURCE.read_bytes() + metadata.version("torch").encode()).hexdigest()[:16]
    library = SOURCE.parent / "build" / f"device-{key}.so"
    if library.exists():
        return library
    library.parent.mkdir(exist_ok=True)
    made = library.with_suffix(".tmp")
    command = ["g++", "-std=c++20", "-fPIC", "-shared", str(SOURCE), "-o", str(made)]
    command += [f"-I{torch / 'include'}", f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch / 'lib'}"]
    subprocess.run(command, check=True)
    made.rename(library)
    return library


def load() -> Device:
    """Load the device into this process. torch must not have been imported: it asks for an accelerator once."""
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported before the simulated device")
    return Device(ctypes.CDLL(str(build()), mode=ctypes.RTLD_GLOBAL))


class Device:
    """The simulated device.

    Attributes:
        waits: how often the host waited for the device, by `file:line function (what)`. Lines are prerlkit's where one
            of its functions is on the stack.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        for name in ("fake_held", "fake_peak", "fake_events"):
            getattr(library, name).restype = ctypes.c_int64
        library.fake_events.argtypes = [ctypes.c_char_p, ctypes.c_int64]
        library.fake_set_limit.argtypes = [ctypes.c_int64]
        self.waits: Counter[str] = Counter()
        self._limit = MEMORY
        self._report = _REPORT(self._waited)  # kept, or ctypes would free it

    @property
    def held(self) -> int:
        """Bytes that tensors take now."""
        return int(self._library.fake_held())

    @property
    def peak(self) -> int:
        """The most bytes since `reset`."""
        return int(self._library.fake_peak())

    @property
    def limit(self) -> int:
        """Bytes that tensors may take; above it torch.OutOfMemoryError is raised."""
        return self._limit

    @limit.setter
    def limit(self, size: int) -> None:
        self._limit = size
        self._library.fake_set_limit(size)

    @property
    def events(self) -> Counter[str]:
        """What happened since `reset`: waits by kind, copies, kernels of attention."""
        size = self._library.fake_events(ctypes.create_string_buffer(1), 1)
        buffer = ctypes.create_string_buffer(size + 1)
        self._library.fake_events(buffer, size)
        pairs = (line.split("\t") for line in buffer.value.decode().splitlines())
        return Counter({event: int(times) for event, times in pairs})

    def reset(self) -> None:
        """Count from here on."""
        self.waits.clear()
        self._library.fake_clear()
        self._library.fake_reset_peak()

    def install(self) -> None:
        """Let torch's Python see the device."""
        import bitsandbytes  # noqa: F401 -- while no CUDA is to be seen: it then takes the kernels that torch computes
        import torch

        self.limit = MEMORY
        self._library.fake_on_wait(self._report)
        torch.version.cuda = "13.0"
        for name, value in self._answers(torch).items():
            setattr(torch.cuda, name, value)
        memory = ("memory_allocated", "max_memory_allocated", "memory_reserved", "mem_get_info", "empty_cache")
        for name in memory:
            setattr(torch.cuda.memory, name, getattr(torch.cuda, name))
        for name in ("get_rng_state", "set_rng_state"):
            setattr(torch.cuda.random, name, getattr(torch.cuda, name))
        accelerator = {
            "is_available": lambda: True,
            "current_accelerator": lambda *_, **__: torch.device("cuda"),
            "device_count": lambda: 1,
            "current_device_index": lambda: 0,
            "synchronize": torch.cuda.synchronize,
            "empty_cache": torch.cuda.empty_cache,
            "get_memory_info": torch.cuda.mem_get_info,
        }
        for name, value in accelerator.items():
            setattr(torch.accelerator, name, value)

    def _answers(self, torch: Any) -> dict[str, Any]:
        """torch.cuda's functions, as a build with a card answers them."""
        about = SimpleNamespace(
            name=NAME, total_memory=MEMORY, major=8, minor=9, multi_processor_count=128, warp_size=32, gcnArchName=""
        )
        host = torch.default_generator
        fixed = {
            "is_available": True,
            "is_initialized": True,
            "is_bf16_supported": True,
            "_is_in_bad_fork": False,
            "is_current_stream_capturing": False,
            "device_count": 1,
            "current_device": 0,
            "_exchange_device": 0,
            "_maybe_exchange_device": 0,
            "get_device_name": NAME,
            "get_device_properties": about,
            "get_device_capability": (8, 9),
            "get_arch_list": ["sm_89"],
        }
        nothing = ("_lazy_init", "_lazy_call", "init", "set_device", "ipc_collect", "empty_cache")
        nothing += ("manual_seed", "manual_seed_all", "seed_all")
        return {
            **{name: lambda *_, _value=value, **__: _value for name, value in fixed.items()},
            **{name: lambda *_, **__: None for name in nothing},
            "synchronize": lambda *_, **__: self._waited(b"synchronize"),
            "memory_allocated": lambda *_: self.held,
            "memory_reserved": lambda *_: self.held,
            "max_memory_allocated": lambda *_: self.peak,
            "max_memory_reserved": lambda *_: self.peak,
            "reset_peak_memory_stats": lambda *_: self._library.fake_reset_peak(),
            "mem_get_info": lambda *_: (self.limit - self.held, MEMORY),
            "get_rng_state": lambda *_: host.get_state(),
            "get_rng_state_all": lambda: [host.get_state()],
            "set_rng_state": lambda state, *_: host.set_state(state),
            "default_generators": (host,),
            "device": lambda *_: contextlib.nullcontext(),
            "stream": lambda *_: contextlib.nullcontext(),
            "current_stream": lambda *_: _Stream(),
            "default_stream": lambda *_: _Stream(),
        }

    def _waited(self, what: bytes) -> None:
        self.waits[f"{_line()} ({what.decode()})"] += 1


class _Stream:
    """The one stream: what is put on it is done."""

    cuda_stream = 0

    def synchronize(self) -> None: ...

    def wait_stream(self, other: object) -> None: ...

    def record_event(self, event: object = None) -> object:
        return event


def _line() -> str:
    """Return where the host waits: the innermost line of prerlkit on the stack, else of a library."""
    frame: FrameType | None = sys._getframe(1)
    innermost = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if _PACKAGE in file:
            return f"{file.split(_PACKAGE)[-1]}:{frame.f_lineno} {frame.f_code.co_name}"
        if not innermost and file != __file__:
            innermost = f"{file.split('site-packages/')[-1]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return innermost or "autograd's own thread"
