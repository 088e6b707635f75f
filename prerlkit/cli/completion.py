"""What the shell completes: recipes, cards, verifiers, presets and run folders. It imports no torch, to be quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def recipe_names(incomplete: str) -> list[str]:
    """Return packaged recipes, recipe files and folders that begin with `incomplete`."""
    files = (path for path in _paths(incomplete) if path.endswith(("/", ".yaml", ".yml")))
    return [*packaged_names(incomplete), *files]


def packaged_names(incomplete: str) -> list[str]:
    """Return packaged recipes that begin with `incomplete`."""
    from prerlkit.recipe.load import packaged

    return [name for name in packaged() if name.startswith(incomplete)]


def card_names(incomplete: str) -> list[str]:
    """Return cards that a plan knows."""
    from prerlkit.plan.data_sheets import CARDS

    return [name for name in CARDS if name.startswith(incomplete.lower())]


def verifier_names(incomplete: str) -> list[str]:
    """Return verifiers that are installed, and Python files. No verifier is imported."""
    from prerlkit.verify.registry import sources_of

    names = [name for name in sorted(sources_of(None)) if name.startswith(incomplete)]
    return [*names, *(path for path in _paths(incomplete) if path.endswith(("/", ".py")))]


def preset_names(incomplete: str) -> list[str]:
    """Return the benchmarks that `prerlkit eval` knows."""
    from prerlkit.evaluation.harness.presets import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


def run_folders(incomplete: str) -> list[str]:
    """Return run folders that begin with `incomplete`, without anything typed those in `runs/`, and other folders."""
    from prerlkit.runs.files import RunFiles

    folders = [path for path in _paths(incomplete) if path.endswith("/")]
    if not incomplete:
        folders += _paths("runs/")
    runs = [path.rstrip("/") for path in folders if RunFiles(Path(path)).recipe.is_file()]
    return runs + [path for path in folders if path.rstrip("/") not in runs and path.endswith("/")]


def _paths(incomplete: str) -> list[str]:
    """Return what begins with `incomplete` in its folder; a folder ends with `/`. Hidden files are left out."""
    folder, _, begin = incomplete.rpartition("/")
    place = Path(f"{folder}/" if folder or incomplete.startswith("/") else ".")
    try:
        entries = sorted(place.expanduser().iterdir())
    except (OSError, RuntimeError):  # RuntimeError: ~ of no user, or without HOME
        return []
    before = incomplete.removesuffix(begin)
    return [
        f"{before}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(begin) and (begin.startswith(".") or not entry.name.startswith("."))
    ]


PackagedName = Annotated[
    str | None,
    typer.Option(
        "--from", help="The packaged recipe to start from; else quickstart_dsrl.", autocompletion=packaged_names
    ),
]
VerifierName = Annotated[
    str | None,
    typer.Option(
        "--verifier", metavar="NAME|{…}", help="Of --data: what judges the answers.", autocompletion=verifier_names
    ),
]
