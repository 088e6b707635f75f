"""The commands and what they share: help, version, and how an error is shown."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

import prerlkit
from prerlkit.errors import PrerlkitError

app = typer.Typer(
    name="prerlkit",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First time here? [bold]prerlkit run quickstart_dsrl[/bold] learns on a laptop in about ten minutes.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"prerlkit {prerlkit.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Train LoRA adapters by reinforcement learning with verifiable rewards, on one consumer GPU or none.

    A recipe is one YAML file: model, data, verifiers, and stages such as NSR-PreRL followed by GRPO (DSRL).
    """


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Show a PrerlkitError as one paragraph on stderr and exit with its code; a traceback only with `verbose`."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except PrerlkitError as error:
            if options.get("verbose"):
                raise
            _show(error.message, error.hint)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if options.get("verbose") or error.errno is None:
                raise
            place = f" ({error.filename})" if error.filename else ""
            writing = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
            hint = "Free some space or permit writing there, then run again with --resume."
            _show(f"{error.strerror}{place}.", hint if writing else "Add -v to see where it happened.")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _show("Stopped at once; nothing after the last checkpoint was kept.", "")
            raise typer.Exit(130) from None

    return wrapped


def _show(message: str, hint: str) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
    console.print(f"[bold red]error[/bold red] {_plain(message)}")
    if hint:
        console.print(_plain(hint))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


# Each module adds its command to `app` when it is imported.
from prerlkit.cli import doctor, recipes, run, verifiers  # noqa: E402, F401
