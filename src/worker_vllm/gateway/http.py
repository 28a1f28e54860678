"""The little of HTTP that the gateway needs, straight on ASGI: a job passes it in microseconds."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from worker_vllm.errors import RequestError, WorkerError

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

JSON_TYPE = b"application/json"
JSON_UTF8_TYPE = b"application/json; charset=utf-8"
EVENT_STREAM_TYPE = b"text/event-stream; charset=utf-8"


class ClientGone(Exception):
    """The other side closed its connection before it had its answer."""


class Request:
    """One HTTP request and the way to answer it, once."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> str:
        """A request header's value, empty when it is not there; `name` in lower case."""
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value, "latin-1")
        return ""

    def query(self) -> Mapping[str, str]:
        """The query string; of repeated names the last value."""
        text = str(self.scope["query_string"], "latin-1")
        return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises RequestError 400 beyond `limit` bytes, ClientGone when it breaks off."""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise RequestError(f"the body is larger than {limit} bytes: send less, or a reference to it")
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    async def json(self, limit: int) -> Any:
        """The body as JSON, whatever its content type says. Raises RequestError 400."""
        body = await self.body(limit)
        try:
            return json.loads(body)
        except ValueError as error:
            raise RequestError(f"the body is not JSON: {error}") from None

    async def gone(self) -> None:
        """Return when the other side has closed its connection; only once the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: bytes = b"", content_type: bytes = JSON_UTF8_TYPE) -> None:
        """The whole answer at once."""
        headers = [(b"content-length", str(len(body)).encode()), *self.extra_headers]
        if body:
            headers.append((b"content-type", content_type))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def start_stream(self, content_type: bytes) -> None:
        """Status 200 and headers; pieces follow by `write`."""
        headers = [(b"content-type", content_type), (b"cache-control", b"no-cache"), *self.extra_headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, piece: bytes, *, more: bool = True) -> None:
        """One piece, on the wire when this returns or as soon as the other side reads."""
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    def answering(self, send: Send) -> Request:
        """The same request with its answer going elsewhere."""
        return Request(self.scope, self._receive, send)

    def abort(self) -> None:
        """Cut the connection without an answer."""
        self.scope["extensions"]["abort"]()


async def answer_error(request: Request, error: WorkerError, *, openai: bool = False) -> None:
    """The error as the platform words it, one sentence under `error`; as OpenAI clients expect it on their routes."""
    body = error.to_body() if openai else json.dumps({"error": error.message}, ensure_ascii=False)
    await request.answer(error.status, body.encode())
