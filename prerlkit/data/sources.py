"""Reads rows from a recipe's source: the Hub, a file, a generator, or reasoning-gym. Plain dicts of plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prerlkit.data import files, generators
from prerlkit.data.template import is_missing
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.install import pip_install
from prerlkit.recipe.sources import FileSource, GeneratorSource, HubSource, ReasoningGymSource, Source
from prerlkit.suggest import nearest

Row = dict[str, Any]


def load_rows(source: Source, *, folder: Path | None) -> list[Row]:
    """Return all rows of the source; see `iter_rows`."""
    return list(iter_rows(source, folder=folder))


def iter_rows(source: Source, *, folder: Path | None) -> Iterator[Row]:
    """Yield the rows of the source in its order. Their values are JSON's, so a row can be sent to a worker.

    Args:
        folder: the recipe's folder; a relative file path is taken from the working directory, then from there.

    Raises:
        UsageError: the source is named or set wrong, can't be read, or has no rows.
        PrerlkitError: the Hub can't be reached, or an extra is not installed.
    """
    rows: Iterable[Row]
    match source:
        case HubSource():
            rows = _hub(source)
        case FileSource():
            rows = files.stream(find_file(source.path, folder))
        case GeneratorSource():
            rows = generators.generate(source.name, source.rows, source.seed, source.settings)
        case ReasoningGymSource():
            rows = _reasoning_gym(source)
    empty = True
    for row in rows:
        empty = False
        yield {key: _plain(value) for key, value in row.items()}
    if empty:
        raise UsageError(f"{name(source)} has no rows")


def name(source: Source) -> str:
    """Return the source's name in messages."""
    match source:
        case HubSource():
            parts = [source.id, source.config, source.split]
            return "data set " + ", ".join(part for part in parts if part)
        case FileSource():
            return f"file {source.path}"
        case GeneratorSource():
            return f'generator "{source.name}"'
        case ReasoningGymSource():
            return f'reasoning-gym task "{source.task}"'


def find_file(path: str, folder: Path | None) -> Path:
    """Return the file at `path`: from the working directory, then from the recipe's folder. Raises UsageError."""
    asked = Path(path).expanduser()
    tried = [asked.absolute()] + ([folder.absolute() / asked] if folder and not asked.is_absolute() else [])
    for candidate in tried:
        if candidate.is_file():
            return candidate
    near = ""
    if tried[-1].parent.is_dir():
        near = nearest(asked.name, (p.name for p in tried[-1].parent.iterdir() if p.suffix == asked.suffix))
    raise UsageError(f"no such file: {' and '.join(dict.fromkeys(map(str, tried)))}{near}")


def _hub(source: HubSource) -> Iterable[Row]:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source.id):
        # Without an owner, `json` or `csv` would make `datasets` read files of the working directory.
        raise UsageError(
            f'"{source.id}" is not the id of a data set on the Hub, which is owner/name',
            "A local file has kind: file and a path.",
        )
    import datasets
    from huggingface_hub.errors import HTTPError

    try:
        loaded = datasets.load_dataset(source.id, name=source.config, split=source.split, revision=source.revision)
    except ValueError as error:  # its words for a wrong config or split, and they list the right ones
        raise UsageError(f"{name(source)}: {error}") from error
    except (datasets.exceptions.DatasetNotFoundError, datasets.exceptions.DatasetsError) as error:
        raise UsageError(
            f"{name(source)} can't be loaded: {error}",
            "Check the spelling, the config and the split; for a gated or private one run `hf auth login`.",
        ) from error
    except (HTTPError, OSError) as error:
        raise PrerlkitError(
            f"{name(source)} could not be downloaded: {type(error).__name__}: {error}",
            "Check the network (HF_HUB_OFFLINE, HF_ENDPOINT), or save the rows as a file and use kind: file.",
        ) from error
    return loaded  # memory-mapped: a row is read when it is asked for


def _reasoning_gym(source: ReasoningGymSource) -> list[Row]:
    """Return columns question, answer, task and metadata, which the task's scorer needs."""
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        raise PrerlkitError(
            f'reasoning-gym is not installed, and the task "{source.task}" comes from it.',
            f"Run: {pip_install('reasoning-gym')}",
        ) from error
    if source.task not in DATASETS:
        raise UsageError(f'reasoning-gym has no task "{source.task}"{nearest(source.task, DATASETS)}')
    known = [key for key in DATASETS[source.task][1].__dataclass_fields__ if key not in ("seed", "size")]
    for key in source.settings:
        if key not in known:
            raise UsageError(f"{name(source)} has no setting {key}{nearest(key, known)}")
    try:
        task = create_dataset(source.task, size=source.rows, seed=source.seed, **source.settings)
        entries = [task[i] for i in range(source.rows)]
    except (AssertionError, TypeError, ValueError) as error:  # how its tasks refuse their settings
        raise UsageError(f"{name(source)} refuses its settings: {error}") from error
    return [{"task": source.task, **entry} for entry in entries]


def _plain(value: Any) -> Any:
    """Return the value as JSON restores it; dates, fractions and the like become text, a missing value None."""
    if type(value) is str:  # most values are, and there may be millions
        return value
    if is_missing(value):
        return None
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
