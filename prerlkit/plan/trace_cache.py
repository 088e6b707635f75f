"""Traces on disk: a trace takes seconds, and the same model is planned again at each start, resume and sweep run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from prerlkit import files
from prerlkit.cache import cache_root
from prerlkit.plan.trace import Parts, Sizes, Traced
from prerlkit.plan.tracker import Peak
from prerlkit.policy.blank import text_config
from prerlkit.recipe.schema import Recipe

_KEPT = 200
"""Files of about 2 KB. The oldest ones are deleted."""
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")

Entry = tuple[Sizes, list[Traced]]


class TraceCache:
    """Traces of one model on one kind of device.

    A file's name is the digest of everything that a trace depends on: the model's config, the recipe as it is traced,
    the versions of the libraries and the code of this package. A file that can't be read counts as missing.

    Args:
        config: the model's config.json, or the folder that holds it.
        device_type: as torch names it.
    """

    def __init__(self, config: str, device_type: str) -> None:
        self._config = config
        self._device_type = device_type
        self._folder = cache_root() / "plans"

    def get(self, recipe: Recipe, parts: Parts) -> Entry | None:
        """Return what `put` kept for the same recipe and parts, None where there is nothing."""
        if not (path := self._path(recipe, parts)):
            return None
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            sizes = Sizes(**known["sizes"], config=text_config(self._config))
            traced = [
                Traced(one["stage"], {name: Peak(**peak) for name, peak in one["peaks"].items()}, one["resident"])
                for one in known["traced"]
            ]
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return None
        return sizes, traced

    def put(self, recipe: Recipe, parts: Parts, entry: Entry) -> None:
        """Keep a trace. A folder that can't be written only costs the time of the next trace."""
        if not (path := self._path(recipe, parts)):
            return
        sizes, traced = entry
        plain = asdict(replace(sizes, config=None))
        del plain["config"]
        text = json.dumps({"sizes": plain, "traced": [asdict(one) for one in traced]})
        with contextlib.suppress(OSError):
            files.write_text(path, text)
            _forget_old(path.parent.glob("*.json"))

    def _path(self, recipe: Recipe, parts: Parts) -> Path | None:
        """Return the file's path; None for a model with remote code, whose config doesn't decide what it does."""
        config = Path(self._config)
        config = config / "config.json" if config.is_dir() else config
        if recipe.model.trust_remote_code or not config.is_file():
            return None
        depends = [
            config.read_text(encoding="utf-8", errors="replace"),
            self._device_type,
            recipe.model_dump_json(),
            asdict(parts),
            _software(),
        ]
        return self._folder / f"{hashlib.sha256(json.dumps(depends).encode()).hexdigest()}.json"


@cache
def _software() -> tuple[str, ...]:
    """Versions of what is traced, and a digest of this package's code."""
    versions = [platform.python_version()]
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(path.read_bytes())
    return (*versions, code.hexdigest())


def _forget_old(paths: Iterable[Path]) -> None:
    ages = sorted((path.stat().st_mtime, path) for path in paths)
    for _, path in ages[:-_KEPT]:
        path.unlink(missing_ok=True)
