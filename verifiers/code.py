"""Runs Python that a model wrote against a row's unit tests, in a sandbox.

The code is the last fenced block that defines what the tests call, or, for a program, the last one that reads its
input. Without a block the whole completion is the code. A `<think>` block does not count. Only the standard library is
available. Code that doesn't compile, raises, exits, takes too long, prints too much, or returns what is too expensive
to compare fails.

A row is unjudged when its tests can't be read, assert nothing, skip themselves or raise by themselves. So is a sample
whose sandbox breaks. docs/sandbox.md says how the sandbox is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from prerlkit.errors import PrerlkitError
from prerlkit.sandbox import Limits, Sandbox, choose
from prerlkit.sandbox.guest.values import distinct, pack, unpack
from prerlkit.sandbox.program import ProgramRunner, Ran
from prerlkit.sandbox.trial import Candidate, CandidateGone, Program, Result, try_with_tests
from prerlkit.settings import Bool, NonNegativeFloat, PositiveFloat
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.code_tests.asserts import UnreadableTests, count, job
from prerlkit.verify.code_tests.cheats import cheats
from prerlkit.verify.code_tests.fences import code_of
from prerlkit.verify.code_tests.outputs import Spelled, same_text, same_value
from prerlkit.verify.code_tests.problem import Asserts, Calls, Problem, Programs, asked_for, called, read, solutions
from prerlkit.verify.code_tests.simple import AssertedCall, Case
from prerlkit.verify.code_tests.simple import cases as simple_cases
from prerlkit.verify.thinking import after_thinking

_GIB = 1 << 30
_HUMANEVAL = {
    "prompt": 'def after(n: int) -> int:\n    """The number after n."""\n',
    "entry_point": "after",
    "test": "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(-1) == 0\n",
}
_MBPP = {"test_list": ["assert double(3) == 6", "assert double(0.25) == 0.5"], "test_setup_code": ""}
_APPS = {"input_output": '{"inputs": ["1 2\\n", "3 4\\n"], "outputs": ["3\\n", "7\\n"]}'}
_CALLS = {"fn_name": "mean", "inputs": [[[1, 2]], [[2, 2]]], "outputs": [1.5, [2]]}
_ENDS = 400  # characters of a program's last output that are kept

Check = tuple[Sequence[AssertedCall], Callable[[list[Any]], str]]  # calls, and the check of their values


class CodeSettings(Settings):
    """How strict the tests are, and how much the code may use."""

    score: Literal["all", "fraction"] = "all"
    """all: 1 when every case passes, else 0, and the first failure ends it. fraction: the share of cases that pass. It
    passes only when all cases do, in both."""
    case_seconds: PositiveFloat = 2.0
    """Seconds that the code may take for one case."""
    total_seconds: PositiveFloat = 20.0
    """Seconds that the code may take for all cases of a completion; tests that are code may take as long again. The
    start of the sandbox doesn't count, but the processor time of comparing answers does. The recipe's `timeout` doesn't
    apply. The runner ends a verdict after a minute and leaves the sample unjudged."""
    memory_gib: PositiveFloat = 0.5
    """Address space of the code."""
    float_tolerance: NonNegativeFloat = 1e-6
    """Allowed difference of expected and returned or printed fractions, relative (absolute below 1). It also holds
    where one of the two is a whole number and the other a float. Two whole numbers are compared exactly, and so is
    infinity. Tests that are code compare as they say."""
    layer: Literal["auto", "bubblewrap", "landlock"] = "auto"
    """The sandbox. auto: bubblewrap where it works, else Landlock."""
    i_accept_that_untrusted_code_runs_unsandboxed: Bool = False
    """Where no sandbox works, run the code with all that this user may do, instead of refusing."""


class Code(Verifier):
    """Passes a completion whose code passes the row's tests."""

    name = "code"
    Settings = CodeSettings
    settings: CodeSettings
    resources = "sandbox"
    needs_answer = False

    def __init__(self, settings: CodeSettings) -> None:
        super().__init__(settings)
        self._sandbox: Sandbox = choose(settings.layer, settings.i_accept_that_untrusted_code_runs_unsandboxed)
        self._limits = Limits(memory=int(settings.memory_gib * _GIB), cpu=int(settings.total_seconds) + 2)

    def judge(self, sample: VerifierInput) -> Verdict:
        try:
            problem = read(sample.row)
            code = self._code(problem, sample)
            if not code.strip():
                return Verdict.of(False, "no code")
            with self.off_the_clock():
                result, total = self._try(problem, code)
        except UnreadableTests as error:
            return Verdict.unjudged(str(error))
        if result.broken:
            return Verdict.unjudged(result.broken, layer=self._sandbox.layer)
        passed = sum(result.cases)
        total = len(result.cases) if result.finished else max(total, len(result.cases))
        right = passed == total
        score = passed / total if self.settings.score == "fraction" else float(right)
        return Verdict(score, right, result.why, {"cases": total, "passed": passed, "layer": self._sandbox.layer})

    def _code(self, problem: Problem, sample: VerifierInput) -> str:
        """Return the completion's code; empty where its thought never ends."""
        names = asked_for(problem)
        if isinstance(problem, Asserts) and not names:
            names = frozenset(_prepared(problem, self._stop)[0]["names"])
        said = after_thinking(sample.completion, sample.prompt)
        return "" if said is None else code_of(said, names, isinstance(problem, Programs))

    @property
    def _stop(self) -> bool:
        """Whether the first failure ends it."""
        return self.settings.score == "all"

    def _try(self, problem: Problem, code: str) -> tuple[Result, int]:
        """Return the result of the cases, and their number."""
        match problem:
            case Asserts():
                return self._asserts(problem, code)
            case Calls():
                program = Program(code, problem.prompt, problem.function, prelude=True)
                return self._calls(program, self._expected(problem)), len(problem.cases)
            case Programs():
                return self._programs(problem, code), len(problem.cases)

    def _asserts(self, problem: Asserts, code: str) -> tuple[Result, int]:
        tests, simple = _prepared(problem, self._stop)
        program = Program(code, problem.prompt, problem.entry, problem.prelude)
        if simple is not None:
            checks = [(case.calls, _holds(case)) for case in simple]
            return self._calls(program, checks), len(checks)
        settings = self.settings
        result = try_with_tests(
            self._sandbox, self._limits, program, tests, settings.case_seconds, settings.total_seconds
        )
        return result, count(problem.units)

    def _expected(self, problem: Calls) -> list[Check]:
        """Return each case as one call, and the comparison with its value."""

        def check(expected: Any) -> Callable[[list[Any]], str]:
            def compare(values: list[Any]) -> str:
                same = same_value(expected, values[0], self.settings.float_tolerance)
                if not same and problem.wrapped and isinstance(expected, list) and len(expected) == 1:
                    same = same_value(expected[0], values[0], self.settings.float_tolerance)
                return "" if same else "returns another value"

            return compare

        return [((AssertedCall(problem.function, tuple(given), {}),), check(wanted)) for given, wanted in problem.cases]

    def _calls(self, program: Program, checks: Sequence[Check]) -> Result:
        """Make the calls of each case, and compare here what they return."""
        result, settings = Result(), self.settings
        with Candidate(
            self._sandbox, self._limits, program, settings.case_seconds, settings.total_seconds
        ) as candidate:
            for calls, compare in checks:
                candidate.new_case()
                busy = time.process_time()
                try:
                    why = compare([_call(candidate, call) for call in calls])
                except CandidateGone as gone:
                    why = str(gone)
                except (PrerlkitError, UnreadableTests):
                    raise  # the sandbox or the row is at fault
                except Exception as error:  # noqa: BLE001 - as the assert would raise, for a value of another type
                    why = f"{type(error).__name__}: {error}"[:_ENDS]
                result.add(not why, why)
                candidate.charge(time.process_time() - busy)
                if candidate.is_out_of_time or (self._stop and not result.cases[-1]):
                    break
        return result

    def _programs(self, problem: Programs, code: str) -> Result:
        """Run the program for each case, and compare here what it prints."""
        result = Result()
        left = self.settings.total_seconds
        with ProgramRunner(self._sandbox, code, self._limits, prelude=True) as program:
            for given, wanted in problem.cases:
                ran = program.run(given.encode("utf-8", "surrogatepass"), min(self.settings.case_seconds, left))
                busy = time.process_time()
                result.add(*self._printed(ran, wanted))
                left = left - ran.seconds - program.restart_seconds - (time.process_time() - busy)
                program.restart_seconds = 0.0
                if left <= 0 or (self._stop and not result.cases[-1]):
                    break
        return result

    def _printed(self, ran: Ran, wanted: str) -> tuple[bool, str]:
        if ran.stopped or ran.exit_code != 0:
            said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
            return False, (ran.stopped or (said[-1] if said else f"exit code {ran.exit_code}"))[:_ENDS]
        same = same_text(wanted, ran.stdout.decode("utf-8", "replace"), self.settings.float_tolerance)
        return same, "" if same else "prints another output"

    def row_error(self, row: Mapping[str, Any]) -> str:
        """Return why the row's tests can't be read."""
        try:
            problem = read(row)
            if isinstance(problem, Asserts):
                _prepared(problem, self._stop)
        except UnreadableTests as error:
            return str(error)
        return ""

    def gold_completion(self, answer: str, row: Mapping[str, Any]) -> str | None:
        """Return the row's reference solution, if it is a program."""
        own = solutions(row)
        return next((text for text in own if answer in ("", text)), None)

    def attacks(self, sample: VerifierInput) -> Mapping[str, str]:
        try:
            return cheats(called(read(sample.row)))
        except UnreadableTests:
            return {}

    gold = (
        GoldCase("    return n + 1\n", "pass", row=_HUMANEVAL),
        GoldCase("Sure:\n```python\ndef after(n):\n    return n + 1\n```\nDone.", "pass", row=_HUMANEVAL),
        GoldCase("```python\ndef after(n):\n    return 3\n```", "fail", row=_HUMANEVAL),
        GoldCase("    pass", "fail", row=_HUMANEVAL),
        GoldCase("    import sys; sys.exit(0)", "fail", row=_HUMANEVAL),
        GoldCase("    import os; os._exit(0)", "fail", row=_HUMANEVAL),
        GoldCase("    return type('T', (), {'__eq__': lambda *a: True})()", "fail", row=_HUMANEVAL),
        GoldCase("    while True: pass", "fail", row=_HUMANEVAL, settings={"case_seconds": 0.3}),
        GoldCase("I can't.", "fail", row=_HUMANEVAL),
        GoldCase("", "fail", row=_HUMANEVAL),
        GoldCase("def double(n): return 2 * n", "pass", row=_MBPP),
        GoldCase("def double(n): return 6", "fail", row=_MBPP),
        GoldCase("def double(n): return 6", "fail", row=_MBPP, settings={"score": "fraction"}),
        GoldCase("print(sum(map(int, input().split())))", "pass", row=_APPS),
        GoldCase("print(3)", "fail", row=_APPS),
        GoldCase("def mean(a): return sum(a) / len(a)", "pass", row=_CALLS),
        GoldCase("def mean(a): return a[0]", "fail", row=_CALLS),
        GoldCase("class Solution:\n    def mean(self, a): return sum(a) / len(a)", "pass", row=_CALLS),
        GoldCase("    return n + 1", "unjudged", row={**_HUMANEVAL, "test": "def check(candidate) assert"}),
        GoldCase("    return n + 1", "unjudged", row={**_HUMANEVAL, "test": "def check(candidate):\n    pass"}),
        GoldCase("    return n + 1", "unjudged", row={**_HUMANEVAL, "test": "def check(f):\n    assert zip(g)"}),
        GoldCase("print(3)", "unjudged", row={"inputs": [], "outputs": []}),
        GoldCase("print(3)", "unjudged"),
    )


class _NoValue:
    """Placeholder for an object that stayed in the sandbox; equals nothing that a row can hold."""


@lru_cache(maxsize=64)
def _prepared(problem: Asserts, stop: bool) -> tuple[dict[str, Any], tuple[Case, ...] | None]:
    """Return the tests for the judge, and as plain cases if they are. Cached: a group's completions share a row."""
    tests = job(problem.units, helpers=problem.prompt, entry=problem.entry, targets=problem.targets, stop=stop)
    return tests, simple_cases(problem.units, tests["names"], problem.entry)


def _holds(case: Case) -> Callable[[list[Any]], str]:
    return lambda values: "" if case.holds(values, distinct) else case.text


def _call(candidate: Candidate, call: AssertedCall) -> Any:
    """Return the value of a call, rebuilt from built-in types.

    Raises:
        CandidateGone: the program has ended.
        Exception: it raised, or returned something that is no plain value.
    """
    args = [pack(value, _refuse) for value in call.args]
    kwargs = {key: pack(value, _refuse) for key, value in call.kwargs.items()}
    answer = candidate.ask("call", {"target": call.function, "args": args, "kwargs": kwargs, "spell": True})
    if "e" in answer:
        (kind, *_), message = answer["e"]
        raise _RaisedThere(f"{kind}: {message}")
    return unpack(answer["v"], _opaque)


def _opaque(name: Any) -> Any:
    return Spelled(name["iterator"]) if isinstance(name, dict) and "iterator" in name else _NoValue()


class _RaisedThere(Exception):  # noqa: N818 - what the program raised
    pass


def _refuse(value: object) -> object:
    raise UnreadableTests(f"a call's argument is a {type(value).__name__}")
