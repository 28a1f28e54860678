"""The hub's HTTP routes that huggingface_hub uses for downloads, over loopback, with scripted faults.

Routes as huggingface_hub 2.4.0 calls them: /api/models/ID, /api/models/ID/revision/REV, /api/models/ID/tree/COMMIT
and /ID/resolve/REV/FILE.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.hub.repositories import COMMIT, Files

GATE_LIMIT_S = 300  # an engine may import behind it
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/?]+)(/(?P<kind>revision|tree)/(?P<revision>[^/?]+))?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)")


@dataclass
class Repository:
    """One model on the hub: its files at each commit, and the names of commits."""

    files: Files
    commit: str = COMMIT
    refs: Mapping[str, str] = field(default_factory=lambda: {"main": COMMIT})
    token: str | None = None  # gated: anyone may list it, only this token may read the files
    wrong: dict[str, bytes] = field(default_factory=dict)  # files whose content differs from the listing
    listed_sizes: Mapping[str, int] = field(default_factory=dict)  # instead of the true ones, in the listing


@dataclass
class Hub:
    """The running hub: its repositories, the requests it received, and the faults to simulate."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)  # "METHOD path", in order
    tokens: set[str] = field(default_factory=set)  # every Authorization header seen
    sent: Counter[str] = field(default_factory=Counter)  # bytes of each file's content that were sent
    cut_once: dict[str, int] = field(default_factory=dict)  # file → bytes after which the connection breaks, once
    cut_always: dict[str, int] = field(default_factory=dict)
    hold: dict[str, threading.Event] = field(default_factory=dict)  # file → its second half waits for this
    halfway: threading.Event = field(default_factory=threading.Event)  # set when a held file's first half was sent
    down: bool = False  # every request is answered with 503

    @property
    def downloads(self) -> list[str]:
        """The files whose content was requested, in order."""
        return [line.split("/", 5)[-1] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the tests read `requests`."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path.partition('?')[0]}")
        token = self.headers.get("Authorization")
        if token:
            self.hub.tokens.add(token)
        matched = _API.match(self.path) or _FILE.match(self.path)
        if self.hub.down or matched is None:
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE if self.hub.down else HTTPStatus.NOT_FOUND, b"")
        repository = self.hub.repositories.get(matched["repo"])
        if repository is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound")
        if token == "Bearer hf_expired":
            return self._refuse(HTTPStatus.UNAUTHORIZED, "", "Invalid credentials in Authorization header")
        if matched.re is _FILE and repository.token and token != f"Bearer {repository.token}":
            return self._refuse(HTTPStatus.FORBIDDEN, "GatedRepo")
        if (matched["revision"] or "main") not in (repository.commit, *repository.refs):
            return self._refuse(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        if matched.re is _FILE:
            return self._file(repository, matched["file"])
        sizes = {name: repository.listed_sizes.get(name, len(content)) for name, content in repository.files.items()}
        entries = [_entry(name, content, sizes[name]) for name, content in repository.files.items()]
        info = {"id": matched["repo"], "sha": repository.commit, "siblings": []}
        self._answer(HTTPStatus.OK, json.dumps(entries if matched["kind"] == "tree" else info).encode())

    def _file(self, repository: Repository, name: str) -> None:
        content = repository.wrong.get(name, repository.files.get(name))
        if content is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound")
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        listed = repository.files.get(name, content)
        self.send_header("ETag", f'"{hashlib.sha256(listed).hexdigest() if _large(name) else _identity(listed)}"')
        self.send_header("X-Repo-Commit", repository.commit)
        self.end_headers()
        if self.command == "GET":
            self._send(name, content[start:])

    def _send(self, name: str, content: bytes) -> None:
        cut = self.hub.cut_once.pop(name, None) or self.hub.cut_always.get(name)
        gate = self.hub.hold.get(name)
        first = content[: cut if cut is not None else len(content) // 2 if gate else len(content)]
        try:
            self.wfile.write(first)
            self.wfile.flush()
            self.hub.sent[name] += len(first)
            if cut is not None:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if gate:
                self.hub.halfway.set()
                gate.wait(GATE_LIMIT_S)
                self.wfile.write(content[len(first) :])
                self.hub.sent[name] += len(content) - len(first)
        except OSError:
            self.close_connection = True

    def _refuse(self, status: HTTPStatus, code: str, message: str = "") -> None:
        self._answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message or code})

    def _answer(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _identity(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def _entry(name: str, content: bytes, size: int) -> dict[str, object]:
    """A file in the tree listing; weights as the hub lists large files, with their SHA-256."""
    entry: dict[str, object] = {"type": "file", "path": name, "size": size, "oid": _identity(content)}
    if _large(name):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 130}
    return entry


@contextmanager
def serving(**repositories: Repository) -> Iterator[Hub]:
    """A hub on a free port of loopback until the block ends; repositories as `org__name=…`."""
    hub = Hub(repositories={name.replace("__", "/"): repository for name, repository in repositories.items()})
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        for gate in hub.hold.values():
            gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
