"""Finds verifiers by name: built-in ones, installed ones, those in a folder next to the recipe, or `file.py:Class`.

After a colon may also stand a function; see `prerlkit.verify.code_tests.function`. In front of it, an installed module.

One file holds one verifier, and both have one name, so that asking for one never imports the others.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

import prerlkit.verifiers
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.plugins import import_file, where
from prerlkit.settings import mistake
from prerlkit.suggest import nearest
from prerlkit.verify.base import Verifier
from prerlkit.verify.code_tests.function import MARK, FunctionVerifier, from_function

GROUP = "prerlkit.verifiers"


@dataclass(frozen=True, slots=True)
class FoundVerifier:
    """A verifier that can be used, and where it came from."""

    name: str
    verifier: type[Verifier]
    origin: str


@dataclass(frozen=True, slots=True)
class BrokenVerifier:
    """A verifier that can't be used, and why."""

    name: str
    origin: str
    error: str


@dataclass(frozen=True, slots=True)
class VerifierSource:
    """A place that claims a name. `where`: a `.py` file, or an import path `package.module[:Class]`.

    `folder`: the recipe's, where the recipe names the place by its path.
    """

    name: str
    where: str | Path
    origin: str
    class_name: str | None = None
    folder: Path | None = None


def known(
    folder: Path | None = None, may_run: Callable[[str], bool] = lambda name: True
) -> dict[str, FoundVerifier | BrokenVerifier]:
    """Every verifier within reach, by name. A plugin that fails to import is `Broken`; the rest is still listed.

    Args:
        folder: the recipe's folder; the files of its `verifiers/` are listed too.
        may_run: whether the code of a name may be imported; otherwise it is `Broken`.
    """
    listed: dict[str, FoundVerifier | BrokenVerifier] = {}
    for name, sources in sorted(sources_of(folder).items()):
        origin = " and ".join(source.origin for source in sources)
        if not may_run(name):
            listed[name] = BrokenVerifier(name, origin, "not loaded, as you have not allowed its code: add --trust")
            continue
        try:
            listed[name] = FoundVerifier(name, _only(name, sources), sources[0].origin)
        except PrerlkitError as error:
            listed[name] = BrokenVerifier(name, origin, str(error))
    return listed


def find(name: str, folder: Path | None = None) -> type[Verifier]:
    """The verifier of that name, or of `path/to/file.py:Class`, or `package.module:Class`; or a function instead.

    A relative path is taken from the working directory, then from `folder`, the recipe's.

    Raises:
        UsageError: no such verifier, two of that name, or one that fails to import.
    """
    if ":" in name or name.endswith(".py"):
        return _load(by_path(name, folder))
    sources = sources_of(folder)
    if name not in sources:
        raise UsageError(
            f'no verifier is named "{name}"{nearest(name, sources)}',
            "`prerlkit verifiers list` shows them all. Your own: a file verifiers/<name>.py next to the recipe, or "
            "path/to/file.py:Class, or path/to/file.py:function.",
        )
    return _only(name, sources[name])


def load_function(name: str) -> Callable[..., Any]:
    """The function of `path/to/file.py:function`, from the working directory, or of `package.module:function`.

    Raises:
        UsageError: no such file or function, or its module fails to import.
    """
    verifier = find(name) if ":" in name else None
    if verifier is None or not issubclass(verifier, FunctionVerifier):
        raise UsageError(f'"{name}" is no function', "Name it as path/to/file.py:function or package.module:function.")
    return verifier.function


def make(name: str, settings: Mapping[str, Any], folder: Path | None = None) -> Verifier:
    """A verifier with its settings, checked by its own class.

    Raises:
        UsageError: as `find`, and for a setting that is unknown or wrong.
    """
    return configured(find(name, folder), settings)


def configured(verifier: type[Verifier], settings: Mapping[str, Any]) -> Verifier:
    """A verifier with its settings. Raises UsageError for a setting that is unknown or wrong."""
    try:
        checked = verifier.Settings.model_validate(dict(settings))
    except ValidationError as error:
        raise UsageError(_explain(verifier, error)) from error
    return verifier(checked)


def _explain(verifier: type[Verifier], error: ValidationError) -> str:
    """One line for each wrong setting: which, what was expected, what was given."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(
                f'verifier "{verifier.name}" has no setting {key}{nearest(key, verifier.Settings.model_fields)}'
            )
        elif key:
            lines.append(f'verifier "{verifier.name}", setting {key}: {mistake(item)}, not {item["input"]!r}')
        else:
            lines.append(f'verifier "{verifier.name}": {mistake(item)}')
    return "\n".join(lines)


def sources_of(folder: Path | None) -> dict[str, list[VerifierSource]]:
    """Return who claims which name. Nothing is imported here."""
    found: dict[str, list[VerifierSource]] = {}

    def add(source: VerifierSource) -> None:
        found.setdefault(source.name, []).append(source)

    for entry in entry_points(group=GROUP):
        by = f" of {entry.dist.name}" if entry.dist else ""
        module, _, class_name = entry.value.partition(":")
        add(VerifierSource(entry.name, module, f"entry point {entry.value}{by}", class_name or None))
    for module_info in pkgutil.iter_modules(prerlkit.verifiers.__path__):
        module = f"prerlkit.verifiers.{module_info.name}"
        if not module_info.name.startswith("_"):
            add(VerifierSource(module_info.name, module, f"built-in {module}"))
    if folder is not None:
        for path in sorted((folder / "verifiers").glob("*.py")):
            if not path.name.startswith("_"):
                add(VerifierSource(path.stem, path.resolve(), str(path)))
    return found


def _only(name: str, sources: list[VerifierSource]) -> type[Verifier]:
    """The one class behind all sources of a name; two classes are an error that names both."""
    classes: dict[tuple[str, str], tuple[type[Verifier], str]] = {}
    for source in sources:
        verifier = _load(source)
        if verifier.name != name:
            raise UsageError(
                f'{source.origin} holds a verifier named "{verifier.name}", but is called "{name}"',
                "Give the verifier, its file and its entry point the same name.",
            )
        # By content and class: an entry point and a folder next to the recipe may both lead to one file, or to a copy
        # of it, as when a recipe lies in a checkout while prerlkit is installed from a wheel.
        classes.setdefault((_content(verifier), verifier.__qualname__), (verifier, source.origin))
    if len(classes) > 1:
        places = " and ".join(origin for _, origin in classes.values())
        raise UsageError(f'two verifiers are named "{name}": {places}', "Rename one, or uninstall its package.")
    return next(iter(classes.values()))[0]


def source_file(verifier: type[Verifier]) -> str:
    """The file that a verifier was written in, for messages; its module's name where there is no file."""
    file = sys.modules[verifier.__module__].__file__
    return str(Path(file).resolve()) if file else verifier.__module__


def _content(verifier: type[Verifier]) -> str:
    """What tells the file of a verifier from another one."""
    path = Path(source_file(verifier))
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def by_path(name: str, folder: Path | None) -> VerifierSource:
    """Return the place that a name with a path or a module claims. Raises UsageError where there is no such file."""
    if ".py:" not in name and not name.endswith(".py"):
        module, _, attribute = name.rpartition(":")
        return VerifierSource(name, module, name, attribute, folder)
    file, _, class_name = name.partition(".py:") if ".py:" in name else (name[: -len(".py")], "", "")
    path = Path(f"{file}.py").expanduser()
    places = [path, *([folder / path] if folder is not None else [])]
    for place in places:
        if place.is_file():
            return VerifierSource(place.stem, place.resolve(), str(place), class_name or None, folder)
    raise UsageError(
        f"no file {' or '.join(str(place) for place in places)}", f"The recipe names it as a verifier: {name}"
    )


def _load(source: VerifierSource) -> type[Verifier]:
    try:
        module = _import_file(source.where) if isinstance(source.where, Path) else importlib.import_module(source.where)
    except (Exception, SystemExit) as error:
        raise UsageError(f"verifier {source.name} ({source.origin}) fails to import: {where(error)}") from error
    if source.class_name is not None:
        named = vars(module).get(source.class_name)
        if inspect.isfunction(named):
            _check_function(named, source)
            return from_function(named, source.class_name)
        classes = [named] if inspect.isclass(named) and issubclass(named, Verifier) else []
    else:
        classes = [
            value
            for value in vars(module).values()
            if inspect.isclass(value) and issubclass(value, Verifier) and value.__module__ == module.__name__
        ]
    if len(classes) != 1:
        what = f"no verifier class {source.class_name}" if source.class_name else f"{len(classes)} verifier classes"
        hint = "A file holds one subclass of prerlkit.verify.Verifier"
        raise UsageError(
            f"{source.origin} holds {what}",
            f"{hint}, or the function that the recipe names." if source.class_name else f"{hint}.",
        )
    if inspect.isabstract(classes[0]) or "name" not in vars(classes[0]):
        raise UsageError(f"{source.origin}: {classes[0].__name__} needs a `name` and a `judge` method")
    return classes[0]


def _check_function(function: Callable[..., Any], source: VerifierSource) -> None:
    """Refuse a function that wasn't written to judge, such as `subprocess:getoutput`: rows would be its arguments.

    Raises:
        UsageError: it is not marked, and its file is not below the recipe's or the working directory.
    """
    if vars(function).get(MARK):
        return
    file = Path(inspect.getsourcefile(function) or "")  # `<frozen os>` for a module that has no file
    places = [Path().resolve(), *([source.folder.resolve()] if source.folder is not None else [])]
    if file.is_file() and not _is_package(file.resolve()) and any(file.resolve().is_relative_to(p) for p in places):
        return
    raise UsageError(
        f"{source.origin} is a function that nothing marks as a verifier",
        "Mark it with @prerlkit.verify.judges where it is written, or call it from a file below the recipe.",
    )


def _is_package(file: Path) -> bool:
    """Whether a file is of an installed package or of the standard library: `/` is a working directory above both."""
    installed = "site-packages" in file.parts or "dist-packages" in file.parts
    own = Path(prerlkit.__file__).resolve().parent  # of a checkout, in which people work
    return installed or file.is_relative_to(own) or file.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


def _import_file(path: Path) -> ModuleType:
    """A file as a module; a built-in's file as the module that it is."""
    if any(path.parent == Path(place).resolve() for place in prerlkit.verifiers.__path__):
        return importlib.import_module(f"prerlkit.verifiers.{path.stem}")
    return import_file(path, "prerlkit_verifier")
