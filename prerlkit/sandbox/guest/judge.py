"""Runs the tests. The functions that they call are in another process, which answers in plain data only.

host → judge   the job (see `main`), then the answers to its requests
judge → host   {op, …}: a request to the candidate · {case, why} · {done} · {broken: why}
"""

from __future__ import annotations

import builtins

from prerlkit.sandbox.guest.channel import Channel
from prerlkit.sandbox.guest.values import pack, unpack

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class Gone(BaseException):
    """The candidate's process has ended. No `except Exception` of a test may hide it."""


class Stop(BaseException):
    """A case failed and the others no longer matter."""


class Broken(BaseException):
    """The tests do something that can't be carried to the candidate's process, so there is no verdict."""


class RemoteError(Exception):
    """The candidate raised an exception class that it defines."""


def main(channel: Channel, config: dict[str, Any]) -> None:
    """Run one job.

    Its keys: helpers (code objects to run first), imports (modules that the tests use unasked), names (the candidate's
    functions), units (code objects of tests), check (call `check` with the function of this name), functions (test
    functions to call), classes (test classes, and the methods of each to call), stop (end at the first failure).
    """
    job = channel.receive()
    link = Link(channel)
    cases = Cases(link, job["stop"])
    names: dict[str, Any] = {"__name__": "tests", "__case__": cases, "__drops__": _for_changes}
    try:
        for code in job["helpers"]:
            exec(code, names)
        for module in job["imports"]:
            names[module] = __import__(module)
        for name in job["names"]:
            names[name] = Remote(name, link)
        for code in job["units"]:
            with cases:
                exec(code, names)
        if job["check"]:
            with cases:
                names["check"](Remote(job["check"], link))
        for name in job["functions"]:
            with cases:
                names[name]()
        for name, methods in job["classes"].items():
            with cases:
                _run_class(names[name], methods, cases)
    except Stop:
        pass
    except Broken as error:
        channel.send({"broken": str(error)})
        return
    except BaseException as error:  # noqa: BLE001 - the helpers' own
        channel.send({"broken": f"the tests' own code raises {type(error).__name__}: {error}"})
        return
    channel.send({"done": True} if link.requests else {"broken": "the tests never call the function"})


def _run_class(kind: Any, methods: list[str], cases: Cases) -> None:
    """Call the methods of a test class, a case each, as unittest and pytest do."""
    unit = hasattr(kind, "doCleanups")
    if unit:
        kind.setUpClass()
    for name in methods:
        with cases(f"{kind.__name__}.{name} fails"):
            test = kind(name) if unit else kind()
            _optional(test, "setUp" if unit else "setup_method")
            try:
                getattr(test, name)()
            finally:
                _optional(test, "tearDown" if unit else "teardown_method")
                if unit:
                    test.doCleanups()
    if unit:
        kind.tearDownClass()


def _optional(test: Any, name: str) -> None:
    if hasattr(test, name):
        getattr(test, name)()


class Link:
    """Requests to the candidate, by way of the host, which counts the time."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.requests = 0

    def ask(self, op: str, arguments: dict[str, Any], values: tuple[Any, ...] = (), drops: bool = False) -> Any:
        """Return the value that the candidate answers with.

        Args:
            values: arguments, which the function may change in place.
            drops: the test doesn't use the value, so the changes are what it looks at. Otherwise it looks at the value,
                and at changes only where that is None. What the candidate's process says about it doesn't matter.

        Raises:
            Exception: what the candidate raised, as the nearest built-in class.
            Gone: its process has ended.
        """
        self.requests += 1
        self.channel.send({"op": op, **arguments})
        answer = self.channel.receive()
        if "gone" in answer:
            raise Gone(answer["gone"])
        if "e" in answer:
            raise _exception(*answer["e"])
        try:
            result = unpack(answer["v"], self.remote)
            if drops or result is None:
                for value, after in zip(values, answer.get("m", ()), strict=False):
                    _write_back(value, unpack(after, self.remote))
            return result
        except Exception as error:
            error._remote = True  # type: ignore[attr-defined]  # what it answers is no value, or too large a one
            raise

    def remote(self, name: Any) -> Remote:
        return Remote(name, self)


class Remote:
    """A function or object of the candidate's. It equals nothing but itself: its `__eq__` is never called.

    Its `__contains__` is not called either, as it would receive the expected value: `in` compares its items here.
    """

    __slots__ = ("_link", "_name")

    def __init__(self, name: Any, link: Link) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_link", link)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], drops: bool = False) -> Any:
        target = self._name if isinstance(self._name, str) else {"obj": self._name}
        packed = {key: pack(value, _name_of) for key, value in kwargs.items()}
        arguments = {"target": target, "args": [pack(value, _name_of) for value in args], "kwargs": packed}
        return self._link.ask("call", {**arguments, "changes": drops}, args, drops)

    def _apply(self, function: str, *args: Any) -> Any:
        packed = [pack(value, _name_of) for value in (self, *args)]
        return self._link.ask("apply", {"function": function, "args": packed})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._apply("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._apply("setattr", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._apply("getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._apply("setitem", key, value)

    def __iter__(self) -> Any:
        return iter(self._apply("list"))

    def __next__(self) -> Any:
        return self._apply("next")

    def __len__(self) -> int:
        return int(self._apply("len"))

    def __bool__(self) -> bool:
        return self._apply("bool") is True

    def __str__(self) -> str:
        return str(self._apply("str"))

    __repr__ = __str__


def _for_changes(function: Any) -> Any:
    """Return the function for a call whose value the test drops."""
    if type(function) is not Remote:
        return function
    return lambda *args, **kwargs: function._call(args, kwargs, drops=True)


class Cases:
    """The context manager `with __case__:` around each assert: it records whether the assert passed."""

    def __init__(self, link: Link, stop: bool) -> None:
        self._link, self._stop, self._depth, self._text = link, stop, 0, ""

    def __call__(self, text: str) -> Cases:
        self._text = text
        return self

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        self._depth -= 1
        if isinstance(error, Stop | Broken):
            return False
        if error is None and self._depth == 0:
            return True  # the outer block counts only when something in it raises outside an assert
        if error is not None and (why := self._whose_fault(error)):
            raise Broken(why) from None
        self._link.channel.send({"case": error is None, "why": "" if error is None else self._why(error)})
        if error is not None and self._stop:
            raise Stop from None
        return True

    def _why(self, error: BaseException) -> str:
        kind = "" if isinstance(error, AssertionError | Gone) else f"{type(error).__name__}: "
        return f"{kind}{_said(error)}"[:300] or self._text or "an assert fails"

    def _whose_fault(self, error: BaseException) -> str:
        """Return what is wrong with the tests; empty where the candidate is at fault."""
        own = f"the tests' own code raises {type(error).__name__}: {_said(error)}"
        if isinstance(error, Gone) or hasattr(error, "_remote"):
            return ""
        if not self._link.requests or isinstance(error, NameError | ImportError | SystemExit):
            return own
        if type(error).__name__ in ("SkipTest", "Skipped"):
            return "the tests skip themselves"
        return own if isinstance(error, AttributeError) and isinstance(error.obj, type(builtins)) else ""


def _said(error: BaseException) -> str:
    """Return an error's message; empty where it holds a candidate's object that doesn't describe itself."""
    try:
        return str(error)
    except (Gone, Exception):  # noqa: BLE001 - whatever the object raises
        return ""


def _name_of(value: Any) -> Any:
    if isinstance(value, Remote):
        return {"obj": value._name}
    raise Broken(f"the tests pass a {type(value).__name__} to the function, which can't leave their process")


def _exception(kinds: list[str], message: str) -> Exception:
    for name in kinds:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
            try:
                error = kind(message)
                break
            except TypeError:  # UnicodeDecodeError and the like want more
                continue
    else:
        error = RemoteError(f"{kinds[0]}: {message}")
    error._remote = True  # type: ignore[attr-defined]
    return error


def _write_back(value: Any, after: Any) -> None:
    """Apply a function's changes of its arguments, if it returned None like functions that work in place."""
    if type(value) is not type(after):
        return
    if isinstance(value, list | bytearray):
        value[:] = after
    elif isinstance(value, dict | set):
        value.clear()
        value.update(after)
