"""The recipes that come with the package: in a checkout the top-level folder `recipes/`, in a wheel beside the code."""

from __future__ import annotations

from pathlib import Path

import prerlkit


def packaged() -> dict[str, Path]:
    """Recipe files by bare name (path below the folder, without `.yaml`)."""
    inside = Path(prerlkit.__file__).resolve().parent / "recipes"
    folder = inside if inside.is_dir() else inside.parents[1] / "recipes"
    return {str(p.relative_to(folder).with_suffix("")): p for p in sorted(folder.rglob("*.yaml"))}
