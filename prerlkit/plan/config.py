"""Where a plan takes a model's shapes from: a file that was named, this machine, the package, or the Hub."""

from __future__ import annotations

import re
from pathlib import Path

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy import source
from prerlkit.recipe.model import Model

_CARRIED = Path(__file__).parent / "configs"


def find_config(model: Model, named: Path | None = None, *, network: bool = False) -> str:
    """A config.json, or a folder with one, for `model`.

    Args:
        named: `--config`: wins over everything.
        network: ask the Hub when nothing is here (one file of a kilobyte).

    Raises:
        UsageError: the named one doesn't exist, or there is none without a network.
    """
    if named is not None:
        if not named.exists():
            raise UsageError(f"--config: there is no {named}", "Give a model's config.json, or its folder.")
        return str(named)
    carried = _CARRIED / f"{_file_name(model)}.json"
    for place in (_on_this_machine(model), carried):
        if place is not None and place.exists():
            return str(place)
    if network and (fetched := _from_hub(model)):
        return fetched
    raise UsageError(
        f"The shapes of {model.id} are not on this machine.",
        "Give its config.json with --config FILE (a kilobyte, on the model's page on the Hub).",
    )


def _file_name(model: Model) -> str:
    if model.id.startswith("pypi:"):
        return re.split(r"==|\{", model.id.removeprefix("pypi:"))[0].removesuffix("-part")
    return model.id.replace("/", "--").replace(":", "--")


def _on_this_machine(model: Model) -> Path | None:
    try:
        return source.cached_config(model)
    except PrerlkitError:
        return None  # whatever is wrong with the model is said where it is loaded


def _from_hub(model: Model) -> str | None:
    from huggingface_hub import errors, hf_hub_download

    try:
        return str(hf_hub_download(model.id, "config.json", revision=model.revision))
    except (errors.HTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError, ValueError):
        return None
