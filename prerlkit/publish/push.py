"""Uploads a run to the Hub: its adapter or its merged model, with a card made from the run, and the recipe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.paths import user_path
from prerlkit.policy import source
from prerlkit.policy.layout import check_publishable
from prerlkit.publish import export as exporting
from prerlkit.publish import merge as merging
from prerlkit.publish.allowed import allow_model
from prerlkit.publish.card import Facts, Kind, base_name, card
from prerlkit.publish.curves import picture
from prerlkit.publish.hub import Hub, HubRepo
from prerlkit.publish.leaks import check_inside, check_leaks
from prerlkit.publish.streamed import StreamedModel
from prerlkit.recipe.load import dump
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.sources import FileSource
from prerlkit.runs.trained import TrainedRun

Report = Callable[[str], None]

MANIFEST = "prerlkit.json"
"""File in the repository that lists our files for a later push."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_HUBS_OWN = (".gitattributes",)


@dataclass(frozen=True, slots=True)
class Pushed:
    """The files that were, or would be, uploaded.

    Attributes:
        files: bytes by path in the repository.
        url: of the commit; None for a dry run.
        notes: lines for the user.
    """

    repo: str
    files: Mapping[str, int]
    card: str
    url: str | None
    notes: tuple[str, ...] = field(default_factory=tuple)


def push(
    run: str | Path,
    repo: str,
    *,
    merged: bool = False,
    private: bool = False,
    revision: str | None = None,
    base: str | None = None,
    license: str | None = None,
    checkpoint: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    trust: bool = False,
    report: Report = lambda line: None,
) -> Pushed:
    """Upload a run's adapter, or its merged model, to the Hugging Face Hub.

    The token is the one of `hf auth login`, or HF_TOKEN. An interrupted upload continues when it is
    repeated. `<run>/export` or `<run>/merged` is used when it is of this policy, and made otherwise.

    Args:
        repo: user/name.
        merged: the merged model instead of the adapter.
        revision: a branch; made when it isn't there.
        base: the base's id on the Hub, for a run whose base came from elsewhere.
        license: of the result. None: the base's, if the Hub has it.
        overwrite: replace a repository's other contents (its history keeps them).
        dry_run: upload nothing and use no network. Where the base is on this machine, its layout is checked.

    Raises:
        UsageError: not a finished run; no token, or one that may not write; a base that no other user could load or
            whose layout can't be written back; a repository with other contents.
        PrerlkitError: something secret or a local path in a file; the Hub or the network failed.
    """
    kind: Kind = "merged" if merged else "adapter"
    trained = TrainedRun.open(user_path(run), checkpoint=checkpoint, weights=True)
    allow_model(trained, None, trust)
    hub_base = base or hub_id(trained.recipe)
    if not merged and hub_base is None:
        raise UsageError(
            f"The base of this adapter is {base_name(trained.recipe)}: no user who downloads it could load it.",
            "Name the same base on the Hub with --base user/model, or push the whole model with --merged.",
        )
    if hub_base is not None and not _ID.fullmatch(hub_base):
        raise UsageError(f"{hub_base!r:.200} is not the id of a model on the Hub.", "Name it with --base user/model.")
    hub = None if dry_run else Hub(repo, revision)
    remote = hub.look() if hub else HubRepo(None, (), None)
    stale = _check_contents(hub, remote, trained, kind, overwrite) if hub else ()
    folder, record = _weights(trained, kind, dry_run, checkpoint, trust, report)
    named = license or (hub.license_of(hub_base) if hub and hub_base else None)
    curves = picture(trained)
    facts = Facts(repo, kind, hub_base, named, record, curves is not None)
    files = _files(trained, facts, folder, curves)
    check_leaks(files.items(), own=_own_paths(trained), secrets=[hub.token or ""] if hub else [])
    sizes = {name: _size(content) for name, content in sorted(files.items())}
    text = files["README.md"]
    assert isinstance(text, bytes)
    notes = _notes(trained, facts, folder, remote, private)
    if hub is None:
        return Pushed(repo, sizes, text.decode(), None, notes)
    report(f"uploading {len(files)} files, {sum(sizes.values()) / 2**20:,.1f} MiB, to {repo}")
    delete = [name for name in stale if name not in files]
    url = hub.commit(files, delete, remote, private=private, message=f"{trained.recipe.name}: {kind} by prerlkit")
    return Pushed(repo, sizes, text.decode(), url, notes)


def hub_id(recipe: Recipe) -> str | None:
    """Return the base's id on the Hub; None for a local folder, a wheel and a model of this package."""
    name = recipe.model.id
    return None if recipe.model.named_for_all or os.path.exists(os.path.expanduser(name)) else name


def public_recipe(recipe: Recipe, base: str | None) -> Recipe:
    """Return the recipe without paths of this machine: files by their names, the base by its id on the Hub."""
    model = recipe.model
    if not model.named_for_all:
        model = model.model_copy(update={"id": base or Path(model.id).name})
    data = recipe.data
    for key in ("train", "eval"):
        if isinstance(one := getattr(data, key), FileSource):
            data = data.model_copy(update={key: one.model_copy(update={"path": Path(one.path).name})})
    uses = tuple(
        use.model_copy(
            update={
                "name": _without_folder(use.name),
                "settings": {
                    key: _without_folder(value) if key in ("function", "id") and isinstance(value, str) else value
                    for key, value in use.settings.items()
                },
            }
        )
        for use in recipe.verifiers
    )
    output = recipe.output.model_copy(update={"folder": "runs/{name}"})
    return recipe.model_copy(update={"model": model, "data": data, "verifiers": uses, "output": output})


def _without_folder(name: str) -> str:
    """Return a file that verifiers name, without the folder of this machine. Other names stay."""
    return name.rpartition("/")[2] if Path(name).is_absolute() else name


def _weights(
    run: TrainedRun, kind: Kind, dry_run: bool, checkpoint: bool, trust: bool, report: Report
) -> tuple[Path | None, dict[str, Any]]:
    """Return the folder with the weights and its record; made now unless it exists. (None, {}): a dry run made none."""
    name, record_name = ("merged", merging.RECORD) if kind == "merged" else ("export", exporting.RECORD)
    folder = run.folder / name
    if (folder / record_name).is_file():
        record: dict[str, Any] = json.loads((folder / record_name).read_text(encoding="utf-8"))
        if record.get("policy") == run.fingerprint:
            return folder, record
        report(f"{folder} is of another state of this run: it is made again")
    if dry_run:
        _check_layout(run, kind)
        return None, {}
    if kind == "merged":
        merging.merge(run.folder, checkpoint=checkpoint, overwrite=True, trust=trust, report=report)
    else:
        exporting.export(run.folder, checkpoint=checkpoint, overwrite=True, trust=trust, report=report)
    return folder, json.loads((folder / record_name).read_text(encoding="utf-8"))


def _check_layout(run: TrainedRun, kind: Kind) -> None:
    """Check that the base's files can be read as the model, and for "merged" that they can be written back.

    Raises:
        UsageError: they can't, or there is no such base. Nothing is checked where the base is not on this machine.
    """
    folder = source.cached_model(run.model)
    if folder is None:
        return
    own_code = run.recipe.model.trust_remote_code
    modules: dict[str, None] = {}
    if kind == "merged":
        stack = StreamedModel(folder, own_code).with_adapters(run.parts).stack()
        modules = {name: None for part in run.parts for name in stack.adapted(part.settings)}
    check_publishable(str(folder), modules, trust_remote_code=own_code)


def _files(run: TrainedRun, facts: Facts, folder: Path | None, curves: bytes | None) -> dict[str, Path | bytes]:
    """Return all files to upload, by their path in the repository."""
    files: dict[str, Path | bytes] = {}
    if folder:
        for file in sorted((*folder.iterdir(), *(folder / exporting.VLLM).glob("*"))):
            if file.is_file() and not file.name.startswith("."):
                check_inside(file, folder)
                files[file.relative_to(folder).as_posix()] = _rewritten(file, facts, run)
    files[run.files.recipe.name] = dump(public_recipe(run.recipe, facts.base)).encode()
    for path in (run.files.metrics, run.files.evaluations):
        if path.is_file():
            check_inside(path, run.folder)
            files[path.name] = path.read_bytes()
    if curves:
        files["curves.png"] = curves
    files["README.md"] = card(run, facts).encode()
    names = sorted([*files, MANIFEST])
    files[MANIFEST] = _json(
        {"run": run.recipe.name, "kind": facts.kind, "policy": run.fingerprint, "steps": run.step, "files": names}
    )
    return files


def _rewritten(file: Path, facts: Facts, run: TrainedRun) -> Path | bytes:
    """Return a file's content for the upload: a local name of the base becomes its id on the Hub."""
    own = not run.recipe.model.named_for_all
    name = facts.base or (Path(run.recipe.model.id).name if own else run.recipe.model.id)
    if file.name == "adapter_config.json":
        content = json.loads(file.read_text(encoding="utf-8"))
        moved = facts.base != run.recipe.model.id
        change = {"base_model_name_or_path": name, **({"revision": None} if moved else {})}
        return _json({**content, **change})
    if file.name == "base.json":
        return _json({**json.loads(file.read_text(encoding="utf-8")), "id": name})
    if file.name == merging.RECORD:
        content = json.loads(file.read_text(encoding="utf-8"))
        return _json({**content, "base": {**content["base"], "id": name}})
    return file


def _check_contents(hub: Hub, remote: HubRepo, run: TrainedRun, kind: Kind, overwrite: bool) -> tuple[str, ...]:
    """Return files that the push replaces or removes. Raise UsageError when they are not this run's."""
    files = tuple(name for name in remote.files if name not in _HUBS_OWN)
    if not files or overwrite:
        return files
    listed = hub.read(MANIFEST) if MANIFEST in files else None
    manifest = json.loads(listed) if listed else {}
    if (manifest.get("run"), manifest.get("kind")) == (run.recipe.name, kind):
        return tuple(name for name in manifest.get("files", ()) if name in files)
    what = f"the {manifest['kind']} of run {manifest['run']}" if manifest else f"{len(files)} other files"
    raise UsageError(
        f"{hub.repo} exists and holds {what}, such as {files[0]}.",
        "Choose another --repo or --revision, or add --overwrite: its files are replaced, its history keeps them.",
    )


def _own_paths(run: TrainedRun) -> list[str]:
    paths = [str(run.folder.resolve()), str(Path.cwd().resolve())]
    if (model := run.recipe.model.id).startswith(("/", "~")) or Path(model).is_absolute():
        paths.append(model)
    cached = source.cached_config(run.recipe.model) if os.path.exists(os.path.expanduser(model)) else None
    return [path for path in [*paths, str(cached or "")] if len(path) > 3]


def _notes(run: TrainedRun, facts: Facts, folder: Path | None, remote: HubRepo, private: bool) -> tuple[str, ...]:
    notes = []
    if folder is None:
        what = "adapter" if facts.kind == "adapter" else "merged weights"
        command = "export" if facts.kind == "adapter" else "merge"
        notes.append(f"the {what} would be made first, as `prerlkit {command} {run.folder}` does, and uploaded too")
        if source.cached_model(run.model) is None:
            notes.append(f"not checked: whether the {what} can be made, as the base is not on this machine")
    if facts.license is None:
        notes.append("no licence is named: the base's is not known here; say it with --license")
    if facts.base and facts.base != run.recipe.model.id:
        notes.append(f"the base is {facts.base}, as you stated: the run used {base_name(run.recipe)}")
    if private and remote.private is False:
        notes.append("the repository exists and is public: --private changes nothing there")
    return tuple(notes)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
