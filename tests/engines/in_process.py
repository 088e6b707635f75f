"""vLLM as on CUDA: its worker inside the engine's process, scheduled asynchronously. As a program: `prerlkit` with it.

vLLM 0.32's CPU build replaces the executor `uni` by `mp` and turns asynchronous scheduling off. It keeps an executor
that is given as a class, and the executor is made before the scheduler.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import torch
import vllm
from vllm.v1.executor.uniproc_executor import UniProcExecutor

FOLDER = "PRERLKIT_TEST_ENGINE"
"""A variable with a folder. The executor appends a byte to `passes` for each forward pass.

It fails while `fault` exists, and deletes it first if it holds `once`.
"""


class Event:
    """A CUDA event on a device that computes at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...


class Stream:
    """A CUDA stream on a device that computes at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, *_: Any) -> None: ...

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None: ...


class AsynchronousExecutor(UniProcExecutor):
    """`uni` with asynchronous scheduling, as vLLM chooses them on one card."""

    def _init_executor(self) -> None:
        torch.cuda.Event, torch.cuda.Stream = Event, Stream
        torch.cuda.current_stream = lambda *_: Stream()
        torch.cuda.stream = lambda stream: stream
        self.vllm_config.scheduler_config.async_scheduling = True
        super()._init_executor()

    def execute_model(self, *arguments: Any, **options: Any) -> Any:
        if folder := os.environ.get(FOLDER):
            with (Path(folder) / "passes").open("a") as passes:
                passes.write(".")
            fault = Path(folder) / "fault"
            if fault.exists():
                if fault.read_text() == "once":
                    fault.unlink()
                raise RuntimeError("a fault that the test asked for")
        return super().execute_model(*arguments, **options)


def as_on_cuda() -> Any:
    """Return vLLM's `LLM` with that executor."""
    from in_process import AsynchronousExecutor as Importable  # by a name that the engine's process can import

    return functools.partial(vllm.LLM, distributed_executor_backend=Importable)


if __name__ == "__main__":
    vllm.LLM = as_on_cuda()
    from prerlkit.cli import main

    main()
