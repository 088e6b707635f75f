"""A trial: tests in one sandbox call functions in another sandbox. This process carries the calls and counts the time.

The candidate's process never holds a test or an expected value, and the judge's never runs a line of the candidate's.
They exchange plain data only (`guest.values`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from prerlkit.errors import PrerlkitError
from prerlkit.sandbox.host import Sandbox
from prerlkit.sandbox.limits import Limits
from prerlkit.sandbox.process import Ended, Guest, TimedOut, TooLong


class CandidateGone(Exception):  # noqa: N818 - said of a candidate
    """The candidate's process ended, or the host ended it. A new process starts with the next request."""


@dataclass(frozen=True, slots=True)
class Program:
    """What the candidate is: its code, and the prompt (code, or nothing) whose function `entry` it completes.

    `prelude`: names of common modules that it uses without importing them are bound first.
    """

    code: str
    prompt: str = ""
    entry: str = ""
    prelude: bool = False


@dataclass(slots=True)
class Result:
    """How the cases went.

    Attributes:
        why: what the first failure was.
        broken: how the tests are at fault, so that there is no verdict.
        finished: every case was tried.
    """

    cases: list[bool] = field(default_factory=list)
    why: str = ""
    broken: str = ""
    finished: bool = False

    def add(self, passed: bool, why: str) -> None:
        self.cases.append(passed)
        if not passed and not self.why:
            self.why = why


class Candidate:
    """A program whose functions can be called. A context manager.

    Only the program's own time counts: from each request to its answer, and the start of each further sandbox that it
    makes necessary. The first sandbox's start is the verifier's.

    Args:
        case_seconds: what the program may take for one case, all its calls together.
        seconds: what it may take in all.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, program: Program, case_seconds: float, seconds: float) -> None:
        self._sandbox, self._limits, self._program = sandbox, limits, program
        self._case_seconds, self._total_left = case_seconds, seconds
        self._left = case_seconds
        self._guest: Guest | None = self._start()
        self._loaded = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guest is not None:
            self._guest.close()

    def new_case(self) -> None:
        """Restart the clock of the case."""
        self._left = self._case_seconds

    @property
    def is_out_of_time(self) -> bool:
        """Whether the time for all cases is used up."""
        return self._total_left <= 0

    def charge(self, seconds: float) -> None:
        """Count the time of judging its answers as the program's: answers that are expensive to judge then fail."""
        self._total_left -= seconds

    def load(self) -> str:
        """Run the program's top level, if that hasn't happened. Return what it raised, or an empty text.

        Raises:
            CandidateGone: it ended, or took too long.
        """
        if self._guest is None:
            start = time.monotonic()
            self._guest = self._start()
            self._guest.wait_ready()
            self._total_left -= time.monotonic() - start
        if self._loaded:
            return ""
        self._guest.wait_ready()
        program = self._program
        answer = self._exchange("load", asdict(program))
        if "e" in answer:
            (kind, *_), message = answer["e"]
            return f"{kind}: {message}"
        self._loaded = True
        return ""

    def ask(self, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return its answer to `call` or `apply`: {"v": plain data} or {"e": [class names, message]}.

        Raises:
            CandidateGone: it ended, took too long, or wrote something that is no answer.
        """
        if why := self.load():
            return {"e": [["while its top level ran"], why]}
        return self._exchange(op, arguments)

    def _exchange(self, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        assert self._guest is not None
        nonce = secrets.token_hex(8)
        start = time.monotonic()
        deadline = start + max(0.0, min(self._total_left, self._left))
        why = ""
        try:
            self._guest.send((nonce, op, dict(arguments)), deadline)
            answer = self._guest.receive(deadline)
        except TimedOut:
            why = "time is up" if self._total_left < self._left else f"ran longer than {self._case_seconds:g} s"
        except Ended as error:
            why = str(error)
        took = time.monotonic() - start
        self._left, self._total_left = max(0.0, self._left - took), self._total_left - took
        if not why and not _is_answer(answer, nonce):
            why = "its process wrote something that is no answer"
        if why:
            self._drop(why)
        return answer

    def _drop(self, why: str) -> None:
        guest, self._guest, self._loaded = self._guest, None, False
        assert guest is not None
        guest.close()
        raise CandidateGone(why)

    def _start(self) -> Guest:
        return Guest(self._sandbox.layer, "candidate", self._limits, bwrap=self._sandbox.bwrap)


def try_with_tests(
    sandbox: Sandbox, limits: Limits, program: Program, job: Mapping[str, Any], case_seconds: float, seconds: float
) -> Result:
    """Have tests run against a program; see `guest.judge` for the job.

    Args:
        case_seconds: for the program, in one case.
        seconds: for the program in all, and as much again for the tests.

    Raises:
        PrerlkitError: the sandbox doesn't work, or the tests take too long before they have asked the program anything.
    """
    result = Result()
    # Both start at once; each waits mostly for the kernel.
    with (
        Candidate(sandbox, limits, program, case_seconds, seconds) as candidate,
        Guest(sandbox.layer, "judge", limits, bwrap=sandbox.bwrap) as judge,
    ):
        tests = _Tests(judge, seconds)
        try:
            if why := candidate.load():
                result.add(False, why)
                return result
            judge.wait_ready()
            tests.send(dict(job))
            _carry(tests, candidate, result, bool(job["stop"]))
        except CandidateGone as gone:
            result.add(False, str(gone))
        except (TimedOut, TooLong) as error:
            # The gold answer shows that the tests are quick with right answers: these answers are not right.
            if not tests.answers:
                raise PrerlkitError("the tests take too long, before they ask the program anything") from None
            late = isinstance(error, TimedOut)
            result.add(False, f"the tests {'take too long' if late else 'ask too much'} with what it returns")
        except Ended as ended:
            if not tests.answers:
                raise PrerlkitError(f"the tests can't be run: {ended}") from None
            result.add(False, "the tests crash with what it returns")
    return result


class _Tests:
    """The judge's guest, and its time.

    Attributes:
        answers: how many of the program's answers it has received.
    """

    def __init__(self, guest: Guest, seconds: float) -> None:
        self._guest, self._left = guest, seconds
        self.answers = 0

    def send(self, message: dict[str, Any]) -> None:
        start = time.monotonic()
        self._guest.send(message, start + max(0.0, self._left))
        self._left -= time.monotonic() - start

    def receive(self) -> Any:
        start = time.monotonic()
        message = self._guest.receive(start + max(0.0, self._left))
        self._left -= time.monotonic() - start
        return message


def _carry(tests: _Tests, candidate: Candidate, result: Result, stop: bool) -> None:
    """Carry requests to the candidate and answers back until the judge is done."""
    while True:
        match tests.receive():
            case {"op": str(op), **arguments}:
                try:
                    answer = candidate.ask(op, {str(key): value for key, value in arguments.items()})
                except CandidateGone as gone:
                    if stop or candidate.is_out_of_time:
                        raise
                    answer = {"gone": str(gone)}
                tests.answers += 1
                try:
                    tests.send(answer)
                except ValueError:  # deeper than marshal goes
                    raise CandidateGone("its answer is nested too deeply") from None
            case {"case": bool(passed), "why": why}:
                result.add(passed, str(why))
                candidate.new_case()
                if stop and not passed:
                    return
            case {"broken": why}:
                result.broken = str(why)
                return
            case {"done": True}:
                result.finished = True
                if not result.cases:  # asserts in functions that the tests define: none failed
                    result.add(True, "")
                return
            case _:
                raise Ended("their messages make no sense")


def _is_answer(answer: Any, nonce: str) -> bool:
    """Return whether the data have the form of an answer, which the judge and this process can read."""
    match answer:
        case {"n": given, "v": _}:
            return bool(given == nonce)
        case {"n": given, "e": [[str(), *others], str()]}:
            return bool(given == nonce) and all(isinstance(other, str) for other in others)
    return False
