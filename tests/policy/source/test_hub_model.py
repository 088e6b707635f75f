"""Local folders and Hub ids: what is found, what is fetched, and what is said when it can't be.

A small server stands for the Hub. huggingface_hub reads its settings when it is imported, so each case is a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prerlkit.errors import UsageError
from prerlkit.policy.source import cached_config, describe, resolve
from prerlkit.recipe.model import Model

COMMIT = "a" * 40
REPOS: dict[str, dict[str, bytes]] = {
    "own/good": {
        "config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}", "chat_template.jinja": b"x",
        "pytorch_model.bin": b"old", "model.gguf": b"other", "onnx/config.json": b"{}", "code.py": b"",
        "checkpoint-5/model.safetensors": b"older", "README.md": b"",
    },
    "own/old": {"config.json": b"{}", "pytorch_model.bin": b"old", "tokenizer.json": b"{}"},
    "own/only-gguf": {"config.json": b"{}", "model.gguf": b"other"},
    "own/no-config": {"model.safetensors": b"weights"},
}  # fmt: skip


ANSWERS = {"own/broken": 500, "own/busy": 429}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as `snapshot_download` asks for."""

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            parts = parts[2:]
        repo, rest = "/".join(parts[:2]), parts[2:]
        if repo == "own/gated":
            return self.answer(403, b"{}", X_Error_Code="GatedRepo", X_Error_Message="gated")
        if repo in ANSWERS:
            return self.answer(ANSWERS[repo], b"{}")
        if repo not in REPOS:
            return self.answer(401, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="no such repository")
        if rest[:1] in (["revision"], ["tree"]) and rest[1] not in ("main", COMMIT):
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound", X_Error_Message="no such revision")
        files = REPOS[repo]
        if rest[:1] == ["tree"]:
            tree = [{"type": "file", "path": n, "size": len(b), "oid": f"{hash(n):x}"} for n, b in files.items()]
            return self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        if rest[:1] == ["resolve"]:
            name = "/".join(rest[2:])
            return self.answer(200, files[name], ETag=f'"{name}"', X_Repo_Commit=COMMIT)
        about = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        return self.answer(200, json.dumps(about).encode(), Content_Type="application/json")

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


CHILD = """
import json, sys
from prerlkit.errors import PrerlkitError
from prerlkit.policy.source import cached_config, describe, resolve
from prerlkit.recipe.model import Model
for values in json.loads(sys.argv[1]):
    model, said = Model(**values), {}
    said["before"] = describe(model)
    try:
        found = resolve(model)
        said.update(path=found.path, revision=found.revision, origin=found.origin)
    except PrerlkitError as error:
        said.update(error=str(error), kind=type(error).__name__)
    said["after"], said["cached"] = describe(model), str(cached_config(model))
    print("SAID " + json.dumps(said))
"""


def ask(home: Path, endpoint: str, *models: dict[str, Any], **environment: str) -> list[dict[str, Any]]:
    """What `describe`, `resolve`, `describe` and `cached_config` say about the models, in one fresh process."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    settings = {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(models)],
        env={**kept, **settings, **environment}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID ")]


def files(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_what_a_model_needs_is_fetched_and_nothing_else(hub: str, tmp_path: Path) -> None:
    good, old = ask(tmp_path, hub, {"id": "own/good"}, {"id": "own/old", "revision": "main"})
    assert "it would be downloaded" in good["before"][0]
    assert files(good["path"]) == {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert good["revision"] == COMMIT
    assert good["path"].startswith(str(tmp_path))
    assert f"own/good from the Hugging Face Hub at commit {COMMIT}" == good["origin"]
    assert f"in the Hub cache at commit {COMMIT}" in good["after"][0]
    assert good["cached"] == good["path"]
    assert files(old["path"]) == {"config.json", "pytorch_model.bin", "tokenizer.json"}


def test_code_is_fetched_only_for_those_who_trust_it(hub: str, tmp_path: Path) -> None:
    (good,) = ask(tmp_path, hub, {"id": "own/good", "trust_remote_code": True})
    assert "code.py" in files(good["path"])


def test_offline_the_cache_serves_and_half_a_model_is_said_so(hub: str, tmp_path: Path) -> None:
    (online,) = ask(tmp_path, hub, {"id": "own/good"})
    (offline,) = ask(tmp_path, hub, {"id": "own/good"}, HF_HUB_OFFLINE="1")
    assert offline["path"] == online["path"]
    (Path(online["path"]) / "model.safetensors").unlink()
    (offline,) = ask(tmp_path, hub, {"id": "own/good"}, HF_HUB_OFFLINE="1")
    assert offline["kind"] == "PrerlkitError"
    assert "no *.safetensors" in offline["before"][0]
    assert offline["cached"] == online["path"]


def test_what_goes_wrong_says_what_to_do(hub: str, tmp_path: Path) -> None:
    said = ask(
        tmp_path, hub, {"id": "own/typo"}, {"id": "own/gated"}, {"id": "own/good", "revision": "v9"},
        {"id": "own/only-gguf"}, {"id": "own/no-config"}, {"id": "own/broken"}, {"id": "own/busy"},
    )  # fmt: skip
    assert {one["kind"] for one in said} == {"PrerlkitError"}
    typo, gated, revision, only_gguf, no_config, broken, busy = [one["error"] for one in said]
    assert '"own/typo"' in typo
    assert "Check the spelling" in typo
    assert "hf auth login" in gated
    assert "terms" in gated
    assert 'revision "v9"' in revision
    assert "model.revision" in revision
    assert "without its weights" in only_gguf
    assert "no config.json" in no_config
    assert 'The Hub answered 500 for "own/broken"' in broken
    assert 'The Hub answered 429 for "own/busy"' in busy
    assert not any("no network" in one for one in (broken, busy))


def test_an_unreachable_hub_is_said_so(tmp_path: Path) -> None:
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        (said,) = ask(tmp_path, "http://127.0.0.1:9", {"id": "own/good"}, **environment)
        assert said["kind"] == "PrerlkitError"
        for words in ('"own/good"', "can't be reached", "local folder", "HF_ENDPOINT"):
            assert words in said["error"]
        assert said["cached"] == "None"


def folder(path: Path, *names: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_text("{}")
    return path


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = folder(tmp_path / "model", "config.json", "model.safetensors")
    monkeypatch.chdir(tmp_path)
    for name in (str(there), "model", "./model"):
        found = resolve(Model(id=name))
        assert (found.path, found.revision) == (str(there), None)
        assert describe(Model(id=name)) == [f"model: local folder {there}"]
        assert cached_config(Model(id=name)) == there


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no config.json"),
        (["model.safetensors"], "holds no config.json"),
        (["adapter_config.json"], "(?s)holds no config.json.*LoRA adapter"),
        (["config.json"], r"has a config.json but no \*.safetensors"),
    ],
)
def test_a_folder_that_is_no_model_names_what_is_missing(tmp_path: Path, names: list[str], words: str) -> None:
    for use in (resolve, describe, cached_config):
        with pytest.raises(UsageError, match=words):
            use(Model(id=str(folder(tmp_path / "model", *names))))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    there = folder(tmp_path / "model", "config.json", "model-1.safetensors")
    index = there / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    with pytest.raises(UsageError, match=r"no model-2\.safetensors"):
        resolve(Model(id=str(there)))
    index.write_text("{")
    with pytest.raises(UsageError, match="not a readable index"):
        resolve(Model(id=str(there)))


@pytest.mark.parametrize("name", ["./nope", "/nope/model", "a/b/c", "~nobody/model", "", "a--b", "my model"])
def test_what_is_neither_a_folder_nor_an_id_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        describe(Model(id=name))


def test_a_file_or_a_folder_with_a_revision_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(UsageError, match="is a file"):
        resolve(Model(id=str(tmp_path / "model.gguf")))
    with pytest.raises(UsageError, match=r"model\.revision"):
        resolve(Model(id=str(tmp_path), revision="main"))
