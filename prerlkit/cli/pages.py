"""The HTML file that a command writes: refused before the work where it can't be one, and told where it can't be."""

from __future__ import annotations

from pathlib import Path

from prerlkit.errors import PrerlkitError, UsageError


def check_page(path: Path, option: str) -> None:
    """Raise UsageError where `path` is a folder; `option` names another."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", f"Name a file: {option} {path / 'report.html'}")


def write_page(path: Path, text: str, option: str) -> None:
    """Write `text`, folders above it included.

    Raises:
        PrerlkitError: it can't be written.
    """
    from prerlkit.files import write_text

    try:
        write_text(path, text)
    except OSError as error:
        raise PrerlkitError(
            f"{path} can't be written: {error.strerror}.", f"Choose another place with {option}."
        ) from None
