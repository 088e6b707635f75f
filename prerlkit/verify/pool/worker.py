"""The process that judges: reads samples from one pipe, writes verdicts to another, and holds nothing worth stealing.

Started as `python -P -m prerlkit.verify.pool.worker PARENT_PID`. It must never import torch: it has to start fast.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.secrets import HIDDEN
from prerlkit.types import Verdict
from prerlkit.verify import registry
from prerlkit.verify.base import Verifier, VerifierInput
from prerlkit.verify.pool import pipe as protocol
from prerlkit.verify.pool.processes import adopt_orphans_and_die_with_parent, kill_descendants

_REASON = 500  # characters: an exception's message may hold the whole completion


def main() -> None:
    """Say hello, then judge batches until the runner closes its pipe."""
    pipe = _private_pipe()
    adopt_orphans_and_die_with_parent(parent=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by the parent, it would be here: no exit status of a child
    try:
        hello = pipe.receive()
        verifiers = _start(hello)
    except protocol.Closed:
        return
    except PrerlkitError as error:
        usage = isinstance(error, UsageError)
        pipe.send([protocol.encode({"error": error.message, "hint": error.hint, "usage": usage})])
        return
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's __init__ may raise anything
        message = f"a verifier fails to start: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
        pipe.send([protocol.encode({"error": message, "hint": "", "usage": False})])
        return
    for verifier in verifiers:
        verifier.on_clock = lambda running: pipe.send([protocol.encode({"clock": running})])
    seconds = [float(verifier.seconds) for verifier in verifiers]
    together = [type(verifier).judge_batch is not Verifier.judge_batch for verifier in verifiers]
    waits = any(verifier.waits for verifier in verifiers)
    pipe.send([protocol.encode({"together": together, "waits": waits, "seconds": seconds})])
    try:
        while True:
            _judge_batch(pipe, verifiers)
    except protocol.Closed:
        kill_descendants(os.getpid())


def _private_pipe() -> protocol.Pipe:
    """The runner's pipes on separate descriptors. What a verifier prints goes to stderr; its stdin is empty."""
    pipe = protocol.Pipe(os.dup(0), os.dup(1))  # dup's descriptors aren't inherited by what verifiers start
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return pipe


def _start(hello: Mapping[str, Any]) -> list[Verifier]:
    folder = Path(hello["folder"]) if hello["folder"] is not None else None
    verifiers = [registry.make(use["name"], use["settings"], folder) for use in hello["verifiers"]]
    for use, verifier in zip(hello["verifiers"], verifiers, strict=True):
        verifier.environment = use["environment"]
        if hello["check"]:
            verifier.check_service()
    # After the imports: these map large libraries, and the limit is meant for what a verdict eats.
    limit_memory(hello["memory_bytes"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return verifiers


def limit_memory(wanted: int) -> None:
    """Limit the address space of this process to `wanted` bytes; on macOS, which refuses such limits, do nothing."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)  # `ulimit -v` of the shell: it can't be raised
    limit = wanted if most == resource.RLIM_INFINITY else min(most, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ValueError, OSError):  # on macOS: cpython#78783
        if sys.platform == "linux":
            raise


def _judge_batch(pipe: protocol.Pipe, verifiers: list[Verifier]) -> None:
    """Take one batch and answer it, a result for each sample as soon as it is known."""
    order = pipe.receive()
    verifier = verifiers[order["use"]]
    samples = [protocol.decode_sample(pipe.receive()) for _ in range(order["count"])]
    if order["together"]:
        pipe.send(_answer_together(verifier, samples))
    else:
        for sample in samples:
            pipe.send([_answer(verifier, sample)])
    if verifier.resources != "pure":
        kill_descendants(os.getpid())


def _answer(verifier: Verifier, sample: VerifierInput) -> bytes:
    """The frame for one sample. Whatever the verifier does wrong ends here as unjudged."""
    if verifier.needs_answer and sample.answer is None:
        return protocol.encode_verdict(Verdict.unjudged("no gold answer"))
    try:
        return _checked(verifier, verifier.judge(sample))
    except BaseException as error:  # noqa: BLE001 - SystemExit and the like too: it is the plugin's, not ours
        return _fault(verifier, f"raised {type(error).__name__}: {error}{_place(error)}")


def _answer_together(verifier: Verifier, samples: list[VerifierInput]) -> list[bytes]:
    """The frames for a verifier with its own `judge_batch`; one by one when that fails."""
    able = [i for i, sample in enumerate(samples) if sample.answer is not None or not verifier.needs_answer]
    frames = [protocol.encode_verdict(Verdict.unjudged("no gold answer"))] * len(samples)
    try:
        verdicts = verifier.judge_batch([samples[i] for i in able])
        for i, verdict in zip(able, verdicts, strict=True):
            frames[i] = _checked(verifier, verdict)
        return frames
    except BaseException:  # noqa: BLE001 - as above; singly, only the sample at fault pays
        return [_answer(verifier, sample) for sample in samples]


def _checked(verifier: Verifier, verdict: Any) -> bytes:
    """The frame for a verdict, or for the fault of a verifier that returned something else."""
    if not isinstance(verdict, Verdict):
        return _fault(verifier, f"returned {type(verdict).__name__}, not a Verdict")
    score, passed = verdict.score, verdict.passed
    if not isinstance(verdict.reason, str) or not isinstance(verdict.details, Mapping):
        return _fault(verifier, "returned a Verdict whose reason is no text or whose details are no mapping")
    if (score is None) != (passed is None):
        return _fault(verifier, f"returned half a verdict: score {score!r}, passed {passed!r}")
    if score is None or passed is None:
        return protocol.encode_verdict(_without_keys(verifier, verdict))
    if isinstance(score, bool) or not isinstance(score, int | float) or not isinstance(passed, bool):
        return _fault(verifier, f"returned score {score!r} and passed {passed!r}; they must be a float and a bool")
    if not 0 <= score <= 1:  # NaN included
        return _fault(verifier, f"returned score {score!r}, which is outside [0, 1]")
    return protocol.encode_verdict(
        _without_keys(verifier, Verdict(float(score), passed, verdict.reason, verdict.details))
    )


def _fault(verifier: Verifier, what: str) -> bytes:
    file = registry.source_file(type(verifier))
    if len(what) > _REASON:
        what = what[:_REASON] + "…"
    verdict = _without_keys(verifier, Verdict.unjudged(f'verifier "{verifier.name}" {what} [{file}]'))
    return protocol.encode_verdict(verdict, error=True)


def _without_keys(verifier: Verifier, verdict: Verdict) -> Verdict:
    """The verdict without the values of the environment variables that the verifier got."""
    reason, details = verdict.reason, verdict.details
    if verifier.environment and details:
        details = json.loads(_hidden(verifier, json.dumps(dict(details), default=str)))
    return replace(verdict, reason=_hidden(verifier, reason), details=details) if verifier.environment else verdict


def _hidden(verifier: Verifier, text: str) -> str:
    for value in verifier.environment.values():
        text = text.replace(value, HIDDEN).replace(json.dumps(value)[1:-1], HIDDEN)
    return text


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""


if __name__ == "__main__":
    main()
