"""ASGI calls inside this process: one HTTP request to an application, and an application that records requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from worker_vllm.json_bytes import dump
from worker_vllm.web.asgi import App, Header, Message, Receive, Scope, Send


@dataclass(slots=True)
class Reply:
    """What an application has sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, in either form."""
        found: dict[str, Any] = self.json["error"]
        return found


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the application has received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RecordingApp:
    """Reads every request whole, records it, and answers 200 with `answer`, in the given pieces."""

    def __init__(self, *answer: bytes, headers: Sequence[Header] = ((b"content-type", b"application/json"),)) -> None:
        self.seen: list[Seen] = []
        self._answer = answer or (b'{"ok":true}',)
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces, more = [], True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        self.seen.append(Seen(scope["method"], scope["path"], headers, b"".join(pieces)))
        await send({"type": "http.response.start", "status": 200, "headers": list(self._headers)})
        for piece in self._answer[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self._answer[-1]})


def scope_of(method: str, path: str, headers: Sequence[Header] = (), **more: Any) -> Scope:
    """An HTTP scope as uvicorn makes it."""
    target = {"method": method, "path": path, "raw_path": path.encode("utf-8", "replace"), "query_string": b""}
    peers = {"client": ("10.0.0.9", 4000), "server": ("10.0.0.1", 80)}
    return {"type": "http", "root_path": "", "headers": list(headers)} | target | peers | more


async def call(
    app: App, method: str, path: str, body: Any = None, headers: Sequence[Header] = (), **more: Any
) -> Reply:
    """Send one request and return the reply. `body` is bytes, a list of pieces, or a value that is sent as JSON."""
    pieces = body if isinstance(body, list) and all(isinstance(one, bytes) for one in body) and body else None
    if pieces is None:
        pieces = [b"" if body is None else body if isinstance(body, bytes) else dump(body)]
    waiting = list(pieces)
    reply = Reply()

    async def receive() -> Message:
        if waiting:
            piece = waiting.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(waiting)}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {key.decode(): value.decode("latin-1") for key, value in message["headers"]}
        else:
            reply.pieces.append(bytes(message.get("body", b"")))

    await app(scope_of(method, path, headers, **more), receive, send)
    return reply


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(config: uvicorn.Config) -> AsyncIterator[str]:
    """The address of the configured server in this process, on a port of its own, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            await task
