"""How an error of a command is shown: one paragraph on stderr, and the exit code."""

from __future__ import annotations

import errno
import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from prerlkit.cli.visible import VisibleConsole, visible
from prerlkit.errors import PrerlkitError, ShownElsewhereError
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


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Show a PrerlkitError as one paragraph on stderr and exit with its code; a traceback only with `verbose`."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except ShownElsewhereError as error:
            raise typer.Exit(error.exit_code) from None
        except PrerlkitError as error:
            if options.get("verbose"):
                _redacted_traceback()
                raise typer.Exit(error.exit_code) from None
            _show(error.message, error.hint)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if options.get("verbose") or error.errno is None:
                _redacted_traceback()
                raise typer.Exit(1) from None
            place = f" ({error.filename})" if error.filename else ""
            _show(f"{error.strerror}{place}.", _HINTS.get(error.errno, "Add -v to see where it happened."))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _show("Stopped at once; nothing after the last checkpoint was kept.", "--resume continues from there.")
            raise typer.Exit(130) from None
        except typer.Exit:
            raise
        except Exception:  # noqa: BLE001 -- a bug: shown whole, but for what must not be shown
            _redacted_traceback()
            raise typer.Exit(1) from None

    return wrapped


def _redacted_traceback() -> None:
    sys.stderr.write(visible(redact(traceback.format_exc())))


def _show(message: str, hint: str) -> None:
    console = VisibleConsole(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
    console.print(f"[bold red]error[/bold red] {_plain(message)}")
    if hint:
        console.print(_plain(hint))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(redact(text))
