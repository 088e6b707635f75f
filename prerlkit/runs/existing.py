"""Whether a run may use a folder that already exists. It imports no torch, so that a refusal comes at once."""

from __future__ import annotations

from pathlib import Path

from prerlkit.errors import UsageError
from prerlkit.files import is_leftover
from prerlkit.runs import lock
from prerlkit.runs.files import Existing, RunFiles


def check_folder(files: RunFiles, existing: Existing) -> None:
    """Check that a run may use the folder. Creates and deletes nothing.

    Raises:
        UsageError: another run holds it, or as `check_content`.
    """
    lock.refuse_if_held(files.path)
    check_content(files, existing)


def check_content(files: RunFiles, existing: Existing) -> None:
    """Check that what is in the folder may be continued or deleted, whichever `existing` asks for.

    Raises:
        UsageError: it is not empty and nothing was said about that, or it can't be resumed or overwritten.
    """
    occupied = files.path.exists() and (not files.path.is_dir() or bool(content(files.path)))
    if existing == "resume" and occupied and not files.recipe.is_file():
        raise UsageError(
            f"{files.path} is not a run (no recipe.yaml), so there is nothing to resume.",
            "Choose the run's folder, or another --output.",
        )
    if existing == "resume":
        _refuse_links(files)
    if existing == "refuse" and occupied:
        raise UsageError(
            f"{files.path} exists and is not empty.",
            "Add --resume to continue the run, --overwrite to start from scratch there, or choose another --output.",
        )
    if existing == "overwrite" and occupied and not (files.recipe.is_file() or files.metrics.is_file()):
        raise UsageError(
            f"{files.path} does not look like a run (no recipe.yaml), so --overwrite will not delete it.",
            "Choose another --output, or delete it yourself.",
        )


def _refuse_links(files: RunFiles) -> None:
    """Refuse a run folder with links in it: what they point to would be written and deleted.

    Raises:
        UsageError: naming the link.
    """
    own = [path for path in vars(files).values() if path != files.path]
    for path in [*own, *files.adapters.glob("*"), *files.checkpoints.glob("*")]:
        if path.is_symlink():
            raise UsageError(
                f"{path} is a link. A run doesn't write through links in its folder.",
                "Put what it points to in its place, if it is this run's.",
            )


def content(folder: Path) -> list[Path]:
    """Return what is in a run folder, without its lock and leftovers of unfinished writes."""
    return [path for path in folder.iterdir() if path.name != lock.NAME and not is_leftover(path)]
