"""How an error of a command is shown: one paragraph on stderr, and the exit code."""

from __future__ import annotations

import errno
import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from prerlkit.cli.visible import VisibleConsole, visible
from prerlkit.errors import PrerlkitError, ShownElsewhereError
from prerlkit.paths import user_path
from prerlkit.secrets import redact

_FULL = "Free some space, then give the command again; `run` and `sweep` continue from there (`run` with --resume)."
_FORBIDDEN = "Permit it there, or name another place."
_IN_THE_WAY = "A file is where a folder should be, or a folder where a file should be: name another place."
_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _FORBIDDEN),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), _IN_THE_WAY),
    errno.ENOENT: "Name a place that exists, or that can be made.",
}
"""What to do about an error of the system that no part of the product explains better."""
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "can't start new thread")


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Show a PrerlkitError as one paragraph on stderr and exit with its code; a traceback only with `verbose`.

    Paths among the options get the home folder for `~`: a shell leaves it in `--output=~/runs`.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            command(*args, **{name: _with_home(value) for name, value in options.items()})
        except ShownElsewhereError as error:
            raise typer.Exit(error.exit_code) from None
        except PrerlkitError as error:
            if options.get("verbose"):
                _redacted_traceback()
                raise typer.Exit(error.exit_code) from None
            _show(error.message, " ".join(part for part in (error.hint, _address_space_hint(error)) if part))
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if options.get("verbose") or error.errno is None:
                _redacted_traceback()
                raise typer.Exit(1) from None
            place = f" ({error.filename})" if error.filename else ""
            hint = _address_space_hint(error) or _HINTS.get(error.errno, "Add -v to see where it happened.")
            _show(f"{error.strerror}{place}.", hint)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stopped:
            _print(str(stopped) or "stopped; the same command begins again")
            raise typer.Exit(130) from None
        except typer.Exit:
            raise
        except Exception as error:  # noqa: BLE001 -- a bug: shown whole, but for what must not be shown
            hint = _address_space_hint(error)
            if hint and not options.get("verbose"):
                _show(f"Memory could not be allocated: {error or type(error).__name__}", hint)
            else:
                _redacted_traceback()
            raise typer.Exit(1) from None

    return wrapped


def _with_home(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_home(item) for item in value]
    return user_path(value) if isinstance(value, Path) else value


def _address_space_hint(error: BaseException) -> str:
    """Return advice that names `ulimit -v` if it is set and `error`, or a cause of it, is a failed allocation."""
    found: BaseException | None = error
    while found and not _is_failed_allocation(found):
        found = found.__cause__ or found.__context__
    if not found or (limit := _address_space()) is None:
        return ""
    return (
        f"`ulimit -v` limits the address space of this process to {limit / 2**30:.1f} GiB: "
        "raise it, or give the command in a shell without it."
    )


def _address_space() -> int | None:
    """Return the bytes that `ulimit -v` allows this process; None where it is not set, and on Windows."""
    try:
        import resource
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _is_failed_allocation(error: BaseException) -> bool:
    text = str(error).lower()  # torch, safetensors and threads have no error class for it
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)


def _redacted_traceback() -> None:
    sys.stderr.write(visible(redact(traceback.format_exc())))


def _show(message: str, hint: str) -> None:
    console = VisibleConsole(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
    console.print(f"[bold red]error[/bold red] {_plain(message)}")
    if hint:
        console.print(_plain(hint))


def _print(text: str) -> None:
    VisibleConsole(stderr=True, highlight=False, soft_wrap=True).print(_plain(text))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(redact(text))
