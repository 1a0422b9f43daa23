"""A stand-in for the Hugging Face Hub: as much of its HTTP interface as pushing and opening a run needs."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN, READ_TOKEN = "hf_owner", "hf_reader"
LARGE = (".safetensors", ".npz")  # stored apart from Git
Files = dict[str, bytes]


@dataclass
class Repository:
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        sha = hashlib.sha1(repr((sorted(files.items()), len(self.commits))).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha

    def find(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


@dataclass
class Hub:
    """What the server holds, and the requests that it got: `METHOD PATH`. url: its address."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploads: Files = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)  # that the listing states instead of the true ones
    tampered: Files = field(default_factory=dict)  # sent instead of the listed files

    def put(self, name: str, files: Files, **more: Any) -> str:
        """A repository with these files; returns its commit."""
        return self.repositories.setdefault(name, Repository(**more)).commit(files)


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.headers = status, {"X-Error-Code": code, "X-Error-Message": message}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.partition("?")[0].replace("%2F", "/")
        self.hub.requests.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._route(path, body)
        except _Refused as refused:
            self._send(b"", refused.status, {k: v for k, v in refused.headers.items() if v})

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _route(self, path: str, body: bytes) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in ("", TOKEN, READ_TOKEN):
            raise _Refused(401, message="Invalid credentials in Authorization header")
        if upload := re.fullmatch(r"/upload/(\w+)", path):
            self.hub.uploads[upload[1]] = body
            return self._send(b"")
        if self.command == "POST" and token != TOKEN and not path.startswith("/api/validate-yaml"):
            raise _Refused(403 if token else 401)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        name, rest = self._named(path)
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not token):
            raise _Refused(404 if token else 401, "RepoNotFound")
        if rest == "" or rest.startswith("revision/"):
            return self._json(self._info(name, repository, rest.removeprefix("revision/") or "main"))
        if resolved := re.fullmatch(r"resolve/([^/]+)/(.+)", rest):
            return self._file(repository, resolved[1], resolved[2])
        if rest.startswith("branch/"):
            repository.branches.setdefault(rest.removeprefix("branch/"), repository.branches.get("main", ""))
            return self._json({})
        if rest.startswith("preupload/"):
            files = [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
                      "shouldIgnore": False, "oid": None} for f in json.loads(body)["files"]]  # fmt: skip
            return self._json({"files": files})
        if rest == "info/lfs/objects/batch":
            objects = [{**o, "actions": {"upload": {"href": f"{self.hub.url}/upload/{o['oid']}"}}}
                       for o in json.loads(body)["objects"]]  # fmt: skip
            return self._json({"transfer": "basic", "objects": objects})
        if rest.startswith("commit/"):
            return self._commit(name, repository, rest.removeprefix("commit/"), body)
        raise _Refused(404)

    @staticmethod
    def _named(path: str) -> tuple[str, str]:
        """The repository's name, and the rest of the path."""
        found = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git)?(?:/(.*))?", path)
        return (found[1], found[2] or "") if found else ("", "")

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            return self._json({"url": f"{self.hub.url}/{name}"}, 409)
        repository = self.hub.repositories[name] = Repository(private=asked.get("visibility") == "private")
        repository.commit({".gitattributes": b"*.npz filter=lfs\n"})
        self._json({"url": f"{self.hub.url}/{name}"})

    def _info(self, name: str, repository: Repository, revision: str) -> dict[str, Any]:
        sha = repository.find(revision)
        if sha is None:
            raise _Refused(404, "RevisionNotFound")
        siblings = []
        for file, data in repository.commits[sha].items():
            size = self.hub.sizes.get(file, len(data))
            large = {"sha256": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 130}
            siblings.append({"rfilename": file, "size": size, "blobId": blob_id(data)}
                            | ({"lfs": large} if file.endswith(LARGE) else {}))  # fmt: skip
        return {"id": name, "sha": sha, "private": repository.private, "siblings": siblings}

    def _file(self, repository: Repository, revision: str, file: str) -> None:
        sha = repository.find(revision)
        data = self.hub.tampered.get(file, repository.commits[sha or ""].get(file))
        if data is None:
            raise _Refused(404, "EntryNotFound")
        self._send(data, headers={"ETag": f'"{blob_id(data)}"', "X-Repo-Commit": str(sha)})

    def _commit(self, name: str, repository: Repository, branch: str, body: bytes) -> None:
        files = dict(repository.commits[repository.branches[branch]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
                assert hashlib.sha256(files[value["path"]]).hexdigest() == value["oid"]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files, branch)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def _send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
