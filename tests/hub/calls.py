"""The calls that huggingface_hub makes, each answered as the real Hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .repo import Repo

if TYPE_CHECKING:
    from . import Hub


class Calls(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub, line = self.state, f"{self.command} {path}"
        with hub.lock:
            hub.log.append(line)
            fault = next((f for f in hub.faults if f.times > 0 and re.search(f.pattern, line)), None)
            if fault:
                fault.times -= 1
        if fault and fault.status is None:
            self.rfile.read(int(self.headers.get("content-length") or 0) // 2)
            self.close_connection = True
            self.connection.close()
            return
        body = self._body()
        if fault and fault.status is not None:
            self._json({"error": f"status {fault.status}"}, fault.status)
            return
        with hub.lock:
            for method, pattern, action in _ROUTES:
                if method == self.command and (match := re.fullmatch(pattern, path)):
                    action(self, body, *match.groups())
                    return
        self._json({"error": f"no route {line}"}, 404)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    # What is sent back.

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200, code: str = "") -> None:
        headers = {"Content-Type": "application/json", **({"X-Error-Code": code} if code else {})}
        self._send(status, json.dumps(value).encode(), headers)

    # Who asks.

    def _who(self) -> dict[str, Any] | None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return self.state.tokens.get(token) if scheme == "Bearer" else None

    def _may_write(self, repo: str) -> bool:
        who = self._who()
        if who is None:
            self._json({"error": "Invalid username or password."}, 401)
            return False
        owners = [who["name"], *(org["name"] for org in who["orgs"])]
        if who["auth"]["accessToken"]["role"] == "read" or repo.split("/")[0] not in owners:
            self._json({"error": "Forbidden: you must use a write token"}, 403)
            return False
        return True

    def _repo(self, name: str) -> Repo | None:
        repo, who = self.state.repos.get(name), self._who()
        if repo is None or (repo.private and (who is None or who["name"] != name.split("/")[0])):
            self._json({"error": "Repository not found"}, 404 if who else 401, "RepoNotFound")
            return None
        return repo

    def _at(self, name: str, revision: str) -> tuple[Repo, str] | None:
        repo = self._repo(name)
        if repo is None:
            return None
        sha = repo.resolve(revision)
        if sha is None:
            self._json({"error": f"Invalid rev id: {revision}"}, 404, "RevisionNotFound")
            return None
        return repo, sha

    # The calls.

    def whoami(self, body: bytes) -> None:
        who = self._who()
        self._json(who, 200) if who else self._json({"error": "Invalid credentials in Authorization header"}, 401)

    def create(self, body: bytes) -> None:
        asked, who = json.loads(body), self._who()
        owner = asked.get("organization") or (who or {}).get("name", "")
        name = f"{owner}/{asked['name']}"
        if not self._may_write(name):
            return
        if name in self.state.repos:
            self._json({"error": "You already created this model repo", "url": f"{self.state.url}/{name}"}, 409)
            return
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        repo = self.state.repos[name] = Repo(private=private)
        repo.commit(
            "main", {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, "initial commit"
        )
        self._json({"url": f"{self.state.url}/{name}", "name": name, "id": "1", "private": repo.private})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        repo = self._repo(name)
        if repo is None or not self._may_write(name):
            return
        if branch in repo.branches:
            self._json({"error": "Reference already exists"}, 409)
            return
        repo.branches[branch] = list(repo.branches["main"][-1:])
        self._json({})

    def info(self, body: bytes, name: str, revision: str | None = None) -> None:
        if found := self._at(name, revision or "main"):
            repo, sha = found
            files = repo.files(sha)
            card = files.get("README.md", b"").decode()
            licence = re.search(r"^license: (\S+)$", card, re.MULTILINE)
            self._json(
                {
                    "_id": "1",
                    "id": name,
                    "modelId": name,
                    "sha": sha,
                    "private": repo.private,
                    "gated": False,
                    "disabled": False,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                    "siblings": [{"rfilename": path} for path in sorted(files)],
                    "cardData": {"license": licence[1]} if licence else {},
                }
            )

    def tree(self, body: bytes, name: str, revision: str, *below: str) -> None:
        if found := self._at(name, revision):
            repo, sha = found
            entries = []
            for path, content in sorted(repo.files(sha).items()):
                entry = {"type": "file", "path": path, "size": len(content), "oid": _git_oid(content)}
                if path in repo.lfs:
                    entry["lfs"] = {
                        "oid": hashlib.sha256(content).hexdigest(),
                        "size": len(content),
                        "pointerSize": 134,
                    }
                entries.append(entry)
            self._json(entries)

    def validate_yaml(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        fine = content.startswith("---\n")
        problem = [{"message": "no metadata"}]
        self._json({"errors": [] if fine else problem, "warnings": []}, 200 if fine else 400)

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if not self._may_write(name) or not (found := self._at(name, revision)):
            return
        repo, sha = found
        there, answer = repo.files(sha), []
        for file in json.loads(body)["files"]:
            large = file["path"].endswith((".safetensors", ".gguf", ".png")) or file["size"] > 10_000_000
            oid = None
            if file["path"] in there:
                content = there[file["path"]]
                oid = hashlib.sha256(content).hexdigest() if large else _git_oid(content)
            mode = "lfs" if large else "regular"
            answer.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answer})

    def batch(self, body: bytes, name: str) -> None:
        if not self._may_write(name):
            return
        answer = []
        for one in json.loads(body)["objects"]:
            entry: dict[str, Any] = {"oid": one["oid"], "size": one["size"], "authenticated": True}
            if one["oid"] not in self.state.objects:
                entry["actions"] = {
                    "upload": {"href": f"{self.state.url}/lfs/{one['oid']}", "header": {}},
                    "verify": {"href": f"{self.state.url}/lfs/{one['oid']}/verify", "header": {}},
                }
            answer.append(entry)
        content = json.dumps({"transfer": "basic", "objects": answer}).encode()
        self._send(200, content, {"Content-Type": "application/vnd.git-lfs+json"})

    def store(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._json({"error": "wrong sha256"}, 400)
            return
        self.state.objects[oid] = body
        self.state.received += len(body)
        self._json({})

    def verify(self, body: bytes, oid: str) -> None:
        fine = len(self.state.objects.get(oid, b"")) == json.loads(body)["size"]
        self._json({}, 200 if fine else 404)

    def commit(self, body: bytes, name: str, branch: str) -> None:
        if not self._may_write(name) or not (found := self._at(name, branch)):
            return
        repo, sha = found
        files, header = dict(repo.files(sha)), {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    header = value
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                    repo.lfs.discard(value["path"])
                case "lfsFile":
                    if value["oid"] not in self.state.objects:
                        self._json({"error": "LFS object is not there"}, 400)
                        return
                    files[value["path"]] = self.state.objects[value["oid"]]
                    repo.lfs.add(value["path"])
                case "deletedFile":
                    del files[value["path"]]
        if header.get("parentCommit") not in (None, sha):
            self._json({"error": "A commit has happened since. Please refresh and try again."}, 412)
            return
        made = repo.commit(branch, files, header["summary"])
        url = f"{self.state.url}/{name}/commit/{made}"
        self._json({"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        if not (found := self._at(name, revision)):
            return
        repo, sha = found
        content = repo.files(sha).get(path)
        if content is None:
            self._json({"error": "Entry not found"}, 404, "EntryNotFound")
            return
        headers = {"X-Repo-Commit": sha, "Content-Type": "application/octet-stream"}
        if path in repo.lfs:
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Linked-Size": str(len(content))}
        headers["ETag"] = f'"{_git_oid(content)}"'
        self._send(200, content, headers)


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    ("GET", r"/api/whoami-v2", Calls.whoami),
    ("POST", r"/api/repos/create", Calls.create),
    ("POST", r"/api/validate-yaml", Calls.validate_yaml),
    ("POST", rf"/api/models/{_NAME}/branch/(.+)", Calls.branch),
    ("POST", rf"/api/models/{_NAME}/preupload/(.+)", Calls.preupload),
    ("POST", rf"/api/models/{_NAME}/commit/(.+)", Calls.commit),
    ("GET", rf"/api/models/{_NAME}/tree/([^/]+)(?:/(.*))?", Calls.tree),
    ("GET", rf"/api/models/{_NAME}/revision/(.+)", Calls.info),
    ("GET", rf"/api/models/{_NAME}", Calls.info),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", Calls.batch),
    ("PUT", r"/lfs/(\w+)", Calls.store),
    ("POST", r"/lfs/(\w+)/verify", Calls.verify),
    ("HEAD", rf"/{_NAME}/resolve/([^/]+)/(.+)", Calls.resolve),
    ("GET", rf"/{_NAME}/resolve/([^/]+)/(.+)", Calls.resolve),
]
