"""A failed allocation of the command's own process under `ulimit -v`."""

import resource
from collections.abc import Callable

import pytest
import typer

from prerlkit.cli.guard import guarded
from prerlkit.errors import PrerlkitError

GIB = 2**30


def wrapped() -> None:
    try:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
    except RuntimeError as error:
        raise PrerlkitError("The model could not be loaded.", "Choose a smaller one.") from error


def raising(error: Exception) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def shown(command: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit) as exit_:
        guarded(command)()
    assert exit_.value.exit_code == 1
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda value: monkeypatch.setattr(resource, "getrlimit", lambda what: (value, value))


COMMANDS = [
    raising(MemoryError()),
    raising(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")),
    raising(RuntimeError("can't start new thread")),
    raising(OSError(12, "Cannot allocate memory")),
    wrapped,
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_failed_allocation_names_ulimit_v_where_it_is_set(command, limit, capsys):
    limit(3 * GIB)
    said = shown(command, capsys)
    assert "`ulimit -v` limits the address space of this process to 3.0 GiB" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_limit_it_is_not_named(command, limit, capsys):
    limit(resource.RLIM_INFINITY)
    assert "ulimit" not in shown(command, capsys)


def test_another_error_under_a_limit_is_not_blamed_on_it(limit, capsys):
    limit(3 * GIB)
    said = shown(raising(ValueError("a bug")), capsys)
    assert "ulimit" not in said
    assert "Traceback" in said


def test_a_real_limit_is_reached_and_named(capsys):
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()

    def command() -> None:
        bytearray(64 * GIB)

    resource.setrlimit(resource.RLIMIT_AS, (used + GIB, before[1]))
    try:
        said = shown(command, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert "`ulimit -v` limits the address space" in said
