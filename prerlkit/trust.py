"""What of a recipe would run code that others wrote or send away keys and rows, and whether the user has allowed it.

A recipe may name a verifier of its folder, a file with a loss, a function of any module, or a model that comes with
code. All of that runs with the user's rights, so it is found here without importing it, shown, and asked for once:
`--trust`, or `trust=True` in Python. The answer is kept for each folder, with a digest of the files. An installed entry
point, and what comes with the package, needs no answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prerlkit.errors import UsageError
from prerlkit.files import write_text
from prerlkit.recipe.model import Model
from prerlkit.recipe.plugins import bind, plugin_files
from prerlkit.recipe.schema import Recipe, VerifierConfig
from prerlkit.recipe.trackers import TrackioSettings
from prerlkit.verify.environment.load import code_name
from prerlkit.verify.foreign import code_of
from prerlkit.verify.judging.http import is_local

REMOTE_CODE = "model.trust_remote_code"
"""The recipe's key for a model that comes with code."""
_HINT = (
    "Read it first: it runs with all that you may do. Then allow it with --trust, or trust=True in Python. You are "
    "asked once for each folder, and again when a file has changed."
)


@dataclass(frozen=True, slots=True)
class ForeignCode:
    """Something that would be run, or sent to a host that the recipe names.

    Attributes:
        key: where the recipe names it.
        name: as it names it.
        place: the file or model that it is in.
        digest: of the code, where it can be read; of its version otherwise.
        sends: it is no code, but keys or rows that leave the process.
    """

    key: str
    name: str
    place: str
    digest: str
    sends: bool = False

    def __str__(self) -> str:
        return f"{self.key}: {self.name} ({self.place}, {self.digest[:19]})"


def of_verifiers(uses: Sequence[VerifierConfig], folder: Path | None) -> tuple[ForeignCode, ...]:
    """Return the code of verifiers that neither come with the package nor are installed, and what they send away."""
    found = []
    for number, use in enumerate(uses):
        named = [(f"verifiers[{number}].name", use.name)]
        if _built_in(use) == "python" and isinstance(function := use.settings.get("function"), str):
            named.append((f"verifiers[{number}].settings.function", function))
        if _built_in(use) == "environment" and isinstance(environment := use.settings.get("id"), str):
            named.append((f"verifiers[{number}].settings.id", code_name(environment)))
        for key, name in named:
            for place in code_of(name, folder):
                found.append(ForeignCode(key, name, str(place), _digest_of(place)))
        if sent := _sent(use):
            digest = hashlib.sha256(json.dumps([use.name, use.settings], sort_keys=True, default=str).encode())
            found.append(
                ForeignCode(
                    f"verifiers[{number}]", f"{use.name} {sent}", _address(use), f"sha256:{digest.hexdigest()}", True
                )
            )
    return tuple(found)


def _sent(use: VerifierConfig) -> str:
    """What a verifier would send to a host that the recipe names: keys of this user, or rows. Empty where neither."""
    away = _built_in(use) == "judge" and not is_local(_address(use))
    what = [*(["gets"] if use.environment else []), *use.environment]
    return " ".join([*what, *(["sends rows and completions"] if away else [])])


def _built_in(use: VerifierConfig) -> str:
    """The name of a built-in verifier, also where the recipe names its module or its file."""
    return Path(use.name.partition(":")[0]).name.removesuffix(".py").rpartition(".")[2]


def _address(use: VerifierConfig) -> str:
    return str(use.settings.get("url", "no address"))


def of_model(model: Model, key: str = REMOTE_CODE) -> tuple[ForeignCode, ...]:
    """Return the code that comes with a model, where its recipe asks for that."""
    if not model.trust_remote_code:
        return ()
    folder = Path(os.path.expanduser(model.id))
    if folder.is_dir():
        # A config names the class to import, which may be one of another repository (`auto_map`).
        files = sorted([*folder.rglob("*.py"), *folder.glob("*config.json")])
        return (ForeignCode(key, model.id, str(folder.resolve()), _digest_of_files(files, folder)),)
    version = hashlib.sha256(f"{model.id}@{model.revision}".encode()).hexdigest()
    place = f"the Hub, revision {model.revision}" if model.revision else "the Hub, whatever is there now"
    return (ForeignCode(key, model.id, place, f"sha256:{version}"),)


def of_files(recipe: Recipe, folder: Path | None) -> tuple[ForeignCode, ...]:
    """Return the files that a recipe names for its losses, advantages, probes and engine."""
    named = plugin_files(recipe)
    located = plugin_files(bind(recipe, folder)) if named else {}
    places = {key: Path(place.rpartition(":")[0]) for key, place in located.items()}
    return tuple(ForeignCode(key, name, str(places[key]), _digest_of(places[key])) for key, name in named.items())


def of_recipe(recipe: Recipe, folder: Path | None) -> tuple[ForeignCode, ...]:
    """Return all code that a run of the recipe would import from elsewhere than installed packages, and what it sends.

    A tracker's Space receives the Hub's token of this user. A vLLM server elsewhere receives prompts and VLLM_API_KEY.
    """
    code = (*of_verifiers(recipe.verifiers, folder), *of_files(recipe, folder), *of_model(recipe.model))
    return (*code, *of_hosts(recipe))


def of_hosts(recipe: Recipe) -> tuple[ForeignCode, ...]:
    """Return what a run would send to hosts that its recipe names for rollouts and trackers."""
    named = []
    if recipe.rollout.engine == "vllm":
        for server in recipe.rollout.vllm.server or ():
            if not is_local(server):
                named.append(("rollout.vllm.server", "sends prompts, adapters' paths and VLLM_API_KEY", server))
    for use in recipe.output.trackers:
        if isinstance(use, TrackioSettings) and use.space:
            named.append(("output.trackers", "trackio sends metrics and the Hub's token", use.space))
    return tuple(
        ForeignCode(key, what, place, f"sha256:{hashlib.sha256(place.encode()).hexdigest()}", True)
        for key, what, place in named
    )


def untrusted(found: Sequence[ForeignCode], folder: Path | None) -> tuple[ForeignCode, ...]:
    """Return those that the user hasn't allowed for this folder, or that have changed since."""
    known = _remembered().get(_key(folder), {}) if found else {}
    return tuple(code for code in found if known.get(_identity(code)) != code.digest)


def require(found: Sequence[ForeignCode], folder: Path | None, trust: bool) -> None:
    """Remember what is found when `trust` allows it; otherwise see that it was allowed before.

    Args:
        folder: the recipe's.

    Raises:
        UsageError: something would run that the user has not allowed. It names all of that, and the flag.
    """
    new = untrusted(found, folder)
    if not new:
        return
    if trust:
        _remember(new, folder)
        return
    lines = "\n".join(f"  {code}" for code in new)
    what = "send away what is yours" if all(code.sends for code in new) else "run code"
    raise UsageError(f"This would {what} that you have not allowed:\n{lines}", _HINT)


def left_out(recipe: Recipe, folder: Path | None, trust: bool) -> tuple[ForeignCode, ...]:
    """Return what a check of a recipe must leave out, as it may not run: nothing where `trust` allows it."""
    found = of_recipe(recipe, folder)
    if trust:
        require(found, folder, trust)
    return untrusted(found, folder) if not trust else ()


def store() -> Path:
    """Return the file of what the user has allowed: `$XDG_CONFIG_HOME/prerlkit/trusted.json`, or below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # as the XDG specification says: a relative one may be in a folder from another person
        base = os.path.expanduser("~/.config")
    return Path(base) / "prerlkit" / "trusted.json"


def _remembered() -> dict[str, dict[str, str]]:
    """What was allowed: for each folder, the digests by identity. Nothing where another user could have written it."""
    path = store()
    try:
        if path.stat().st_uid != os.geteuid():
            return {}
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {str(folder): dict(codes) for folder, codes in data.items() if isinstance(codes, dict)}


def _remember(new: Sequence[ForeignCode], folder: Path | None) -> None:
    """Add to what was allowed. Where the file can't be written, it is asked again the next time."""
    known = _remembered()
    known.setdefault(_key(folder), {}).update({_identity(code): code.digest for code in new})
    with contextlib.suppress(OSError):
        store().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(store(), json.dumps(known, indent=2) + "\n", mode=0o600)


def _key(folder: Path | None) -> str:
    return str((folder or Path()).resolve())


def _identity(code: ForeignCode) -> str:
    return f"{code.name} in {code.place}"


def _digest_of(place: Path | str) -> str:
    """The digest of a file, and of the others in a folder `verifiers/`, which it may import; of a module's name."""
    if isinstance(place, str):
        return f"sha256:{hashlib.sha256(place.encode()).hexdigest()}"
    files = sorted(place.parent.rglob("*.py")) if place.parent.name == "verifiers" else [place]
    return _digest_of_files(files, place.parent)


def _digest_of_files(files: Sequence[Path], folder: Path) -> str:
    """The digest of files below a folder, with their relative paths: moved code may be imported under another name."""
    whole = hashlib.sha256()
    for part in _parts(files, folder):
        whole.update(len(part).to_bytes(8, "big") + part)
    return f"sha256:{whole.hexdigest()}"


def _parts(files: Sequence[Path], folder: Path) -> Iterator[bytes]:
    for file in files:
        yield os.fsencode(file.relative_to(folder))
        yield file.read_bytes() if file.is_file() else b""
