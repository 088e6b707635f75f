"""What finished runs recorded, an archive a part and task: enough for tables, and to go on with a study elsewhere."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from benchmarks.study.parts import Part
from benchmarks.study.tuning import finished
from prerlkit.runs.jsonl import read_json
from prerlkit.sweep import manifest

RECORDS = Path(__file__).with_name("records")
_FILES = ("recipe.yaml", "summary.json", "environment.json", "metrics.jsonl", "evaluations.jsonl", "probes.jsonl")
"""No weights and no samples: those are made again by `run`."""


def pack(part: Part, task: str, root: Path, records: Path = RECORDS) -> Path | None:
    """Write a part's finished runs into its archive; equal runs give equal bytes.

    Args:
        root: the study's folder.

    Returns:
        The archive; None where no run is finished.
    """
    sweep = root / f"{part.name}-{task}"
    runs = [run.folder for own in finished(part, sweep).values() for run in own]
    if not runs:
        return None
    records.mkdir(exist_ok=True)
    target = _archive(part, task, records)
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for run in sorted(runs):
            for path in (run / name for name in _FILES if (run / name).is_file()):
                content = _without_places(path)
                entry = tarfile.TarInfo(path.relative_to(sweep).as_posix())
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return target


def unpack(part: Part, task: str, root: Path, records: Path = RECORDS) -> int:
    """Lay a part's recorded runs into the study's folder; one that is there already stays as it is.

    Returns:
        How many files were laid.
    """
    if not (found := _archive(part, task, records)).is_file():
        return 0
    sweep = root / f"{part.name}-{task}"
    sweep.mkdir(parents=True, exist_ok=True)
    laid = 0
    with tarfile.open(found) as archive:
        there = {entry.name for entry in archive if (sweep / entry.name).parent.exists()}
        for entry in archive:
            if entry.name not in there:
                archive.extract(entry, sweep, filter="data")
                laid += 1
    if not (sweep / manifest.NAME).is_file():
        manifest.write(sweep, [part.name], [])
    return laid


def _archive(part: Part, task: str, records: Path) -> Path:
    return records / f"{part.name}-{task}.tar.xz"


def _without_places(path: Path) -> bytes:
    """A file's bytes; of the environment without folders of the machine."""
    if path.name != "environment.json":
        return path.read_bytes()
    content = read_json(path)
    content.pop("recipe_folder", None)
    if origin := content.get("model", {}).get("origin"):
        content["model"]["origin"] = str(origin).partition(" in /")[0]
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
