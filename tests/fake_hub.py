"""A Hub of our own on the loopback interface: the routes that downloads and uploads of models need.

In: repositories, and tokens with the namespaces they may write to. Out: a server; scripts run against it in fresh
processes, since huggingface_hub reads its endpoint once, when it is imported.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = tuple[int, bytes, dict[str, str]]
Files = dict[str, bytes]


@dataclass
class Repository:
    """Branches with their files, and how each commit was described; a commit is named by a hash of its files."""

    branches: dict[str, Files] = field(default_factory=lambda: {"main": {}})
    private: bool = False
    messages: list[dict[str, str]] = field(default_factory=list)
    pull_requests: list[Files] = field(default_factory=list)

    def at(self, revision: str) -> tuple[str, Files] | None:
        """Commit and files of a branch or commit."""
        for name, files in self.branches.items():
            commit = commit_of(files)
            if revision in (name, commit):
                return commit, files
        return None


def commit_of(files: Files) -> str:
    """The name of the commit that holds these files."""
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(name.encode() + files[name])
    return digest.hexdigest()


@dataclass
class FakeHub:
    """Repositories by name; `tokens` says what namespaces a token may read in private and write to."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, tuple[str, ...]] = field(default_factory=dict)
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    stored: Files = field(default_factory=dict)
    """What came as large files, by SHA-256."""

    def run(self, script: str, calls: list[dict[str, Any]], cache: Path, **environment: str) -> list[dict[str, Any]]:
        """The JSON lines that a script prints, which gets `calls` as JSON in a fresh process with this Hub."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SENTENCE_"))}
        variables = inherited | {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(cache)} | environment
        variables |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-c", script, json.dumps(calls)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        """Serves while the context lasts."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.endpoint = f"http://127.0.0.1:{server.server_port}"
            yield self
            server.shutdown()

    def answer(self, path: str, namespaces: tuple[str, ...], body: bytes | None) -> Answer:
        """Status, body and headers for a request of someone who may write to these namespaces."""
        if path.startswith("stored/"):
            return self._store(path.removeprefix("stored/"), body)
        if path == "api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if path == "api/repos/create":
            return self._create(json.loads(body or b"{}"), namespaces)
        route = path.removeprefix("api/models/")
        name = next((name for name in self.repositories if route.startswith((f"{name}/", f"{name}."))), route)
        owner = name.partition("/")[0]
        repository = self.repositories.get(name)
        if repository is None or (repository.private and owner not in namespaces):
            return 404 if namespaces else 401, b"{}", {"X-Error-Code": "RepoNotFound"}
        verb, _, rest = route.removeprefix(name).lstrip("./").partition("/")
        if body is None:
            return _read(repository, name, verb or "revision", rest or "main")
        if owner not in namespaces:
            return _refusal(403 if namespaces else 401)
        return self._write(repository, f"{self.endpoint}/{name}", f"{verb}/{rest}", body)

    def _store(self, oid: str, body: bytes | None) -> Answer:
        assert body is not None
        if body.startswith(b'{"oid"'):
            return _json({}) if len(self.stored[oid]) == json.loads(body)["size"] else _refusal(422)
        self.stored[oid] = body
        return _json({}) if hashlib.sha256(body).hexdigest() == oid else _refusal(422)

    def _create(self, wanted: dict[str, Any], namespaces: tuple[str, ...]) -> Answer:
        owner = wanted["organization"] or next(iter(namespaces), "")
        if owner not in namespaces:
            return _refusal(403 if namespaces else 401)
        name = f"{owner}/{wanted['name']}"
        if name in self.repositories:
            return 409, json.dumps({"url": f"{self.endpoint}/{name}", "error": "You already created this"}).encode(), {}
        is_private = wanted.get("private") or wanted.get("visibility") == "private"
        self.repositories[name] = Repository(private=bool(is_private))
        return _json({"url": f"{self.endpoint}/{name}"})

    def _write(self, repository: Repository, url: str, route: str, body: bytes) -> Answer:
        verb, _, rest = route.partition("/")
        if verb == "branch":
            if rest in repository.branches:
                return _refusal(409)
            repository.branches[rest] = dict(repository.branches["main"])
            return _json({})
        if verb == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
            return _json({"files": [{"path": p, "uploadMode": modes[p], "shouldIgnore": False} for p in paths]})
        if verb == "git":
            return _json({"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]})
        assert verb == "commit", verb
        lines = [json.loads(line) for line in body.splitlines()]
        revision = rest.partition("?")[0]
        files = dict(repository.branches[revision])
        for line in lines[1:]:
            value = line["value"]
            is_large = line["key"] == "lfsFile"
            files[value["path"]] = self.stored[value["oid"]] if is_large else base64.b64decode(value["content"])
        repository.messages.append(lines[0]["value"])
        commit = commit_of(files)
        answer = {"commitUrl": f"{url}/commit/{commit}", "commitOid": commit}
        if "create_pr=1" in rest:
            repository.pull_requests.append(files)
            return _json({**answer, "pullRequestUrl": f"{url}/discussions/1"})
        repository.branches[revision] = files
        return _json(answer)

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        href = {"href": f"{self.endpoint}/stored/{wanted['oid']}"}
        return {**wanted, "actions": {"upload": href, "verify": href}}


def _read(repository: Repository, name: str, verb: str, rest: str) -> Answer:
    revision, _, file = rest.partition("/")
    found = repository.at(revision)
    if found is None:
        return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
    commit, files = found
    if verb == "revision":
        return _json({"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]})
    if verb == "tree":
        tree = [{"type": "file", "path": path, "size": len(body), "oid": path} for path, body in files.items()]
        return 200, json.dumps(tree).encode(), {}
    if file not in files:
        return 404, b"{}", {"X-Error-Code": "EntryNotFound"}
    etag = hashlib.sha1(files[file]).hexdigest()
    return 200, files[file], {"ETag": f'"{etag}"', "X-Repo-Commit": commit}


def _json(value: object) -> Answer:
    return 200, json.dumps(value).encode(), {}


def _refusal(status: int) -> Answer:
    return status, b'{"error": "no"}', {}


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_HEAD(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def do_PUT(self) -> None:
            self.do_POST()

        def _answer(self, sent: bytes | None) -> None:
            hub.requests.append(self.path)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            path = self.path.removeprefix("/")
            path = path if sent is not None else path.partition("?")[0]
            status, body, headers = hub.answer(path, hub.tokens.get(token, ()), sent)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
