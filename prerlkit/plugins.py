"""Loads what a recipe names as `path/to/file.py:Name`: losses, advantages, probes, engines. Verifiers share the import.

A file runs with the user's rights. It is read when settings are checked or a run starts, never when a recipe is
loaded, shown or compared: the same trust that verifiers need.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Annotated, Any

from pydantic import Field, ValidationError

from prerlkit.errors import UsageError
from prerlkit.settings import mistake
from prerlkit.suggest import nearest

FILE = "path/to/file.py:Name"
FileName = Annotated[str, Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")]

_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def is_file(name: Any) -> bool:
    """Return whether `name` is of the form `path/to/file.py:Name`."""
    return isinstance(name, str) and _FILE.fullmatch(name) is not None


def located(name: str, folder: Path | None, key: str) -> str:
    """Return `name` with an absolute path. A relative one is taken from the working directory, then from `folder`.

    Args:
        folder: the recipe's.
        key: of the recipe, for errors.

    Raises:
        UsageError: there is no such file.
    """
    file, attribute = _split(name)
    places = [file, *([folder / file] if folder is not None else [])]
    for place in places:
        if place.is_file():
            return f"{place.resolve()}:{attribute}"
    raise UsageError(
        f"{key}: no file {' or '.join(str(place) for place in places)}",
        "Give its path relative to the recipe, or an absolute one.",
    )


def sha256(name: str) -> str:
    """Return the SHA-256 of the file that a located name is in, as hex digits."""
    return hashlib.sha256(_split(name)[0].read_bytes()).hexdigest()


def make(name: str, settings: Mapping[str, Any], kind: type[Any], key: str) -> Any:
    """Return an instance of the class `Name` of `path/to/file.py:Name`, with its settings checked by its own class.

    Args:
        kind: what the class has to be a subclass of; has `Settings`.
        key: of the recipe, for errors.

    Raises:
        UsageError: the file fails to import, has no such class, or a setting is unknown or wrong.
    """
    found = load(name, kind, key)
    try:
        checked = found.Settings.model_validate(dict(settings))
    except ValidationError as error:
        raise UsageError("\n".join(_wrong_settings(name, found, error, key))) from error
    return found(checked)


def load(name: str, kind: type[Any], key: str) -> Any:
    """Return the class `Name` of `path/to/file.py:Name`, a subclass of `kind`.

    Raises:
        UsageError: naming file, line and key.
    """
    file, attribute = _split(name)
    try:
        module = import_file(file, "prerlkit_plugin")
    except (Exception, SystemExit) as error:
        raise UsageError(f"{key}: {file} fails to import: {where(error)}") from error
    wanted = f"a subclass of {kind.__module__}.{kind.__name__}"
    found = vars(module).get(attribute)
    if found is None:
        own = [name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, kind)]
        raise UsageError(f"{key}: {file} has no {attribute}{nearest(attribute, own)}", f"Name {wanted} that is in it.")
    if not (inspect.isclass(found) and issubclass(found, kind)):
        line = inspect.getsourcelines(found)[1] if inspect.isclass(found) or inspect.isfunction(found) else None
        place = f"{file}:{line}" if line else str(file)
        raise UsageError(
            f"{key}: {place}: {attribute} is not {wanted}", f"Make it one, or name another class of {file}."
        )
    if missing := sorted(vars(found).get("__abstractmethods__", ())):
        line = inspect.getsourcelines(found)[1]
        raise UsageError(
            f"{key}: {file}:{line}: {attribute} lacks {', '.join(missing)}",
            "Define it; its base class says what it does.",
        )
    return found


def built_in(path: str) -> Any:
    """Return what `package.module:Name` names. Rooms below use it for the engines and probes above them."""
    module, _, name = path.partition(":")
    return vars(importlib.import_module(module))[name]


def import_file(path: Path, prefix: str) -> ModuleType:
    """Return a file as a module, imported once in a process. `prefix`: of the module's name."""
    path = path.resolve()
    digest = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:12]
    name = f"{prefix}_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up while the class is made
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the file that was shown and allowed. Bytecode in `__pycache__` may be of another source."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def where(error: BaseException) -> str:
    """Return an exception in a line, with the file and line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {error}{place}"


def _split(name: str) -> tuple[Path, str]:
    found = _FILE.fullmatch(name)
    if found is None:
        raise UsageError(f'"{name}" is not of the form path/to/file.py:Name')
    return Path(found["file"]).expanduser(), found["name"]


def _wrong_settings(name: str, found: Any, error: ValidationError, key: str) -> list[str]:
    """One line for each wrong setting: which, what was expected, what was given."""
    lines = []
    for item in error.errors():
        setting = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: {name} has no setting {setting}{nearest(setting, found.Settings.model_fields)}")
        else:
            lines.append(f"{key}: {name}, setting {setting}: {mistake(item)}, not {item['input']!r}")
    return lines
