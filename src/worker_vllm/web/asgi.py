"""One HTTP exchange on bare ASGI 3: its headers, its request id, its status, and errors in the route's own form."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.jobs.output.error_events import error_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

REQUEST_ID = b"x-request-id"
VALID_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
COUNT = itertools.count()


class HttpRefusal(RequestError):
    """A request that is refused with headers of its own, such as `Allow` or `Retry-After`."""

    def __init__(self, status: int, message: str, *headers: Header, param: str | None = None) -> None:
        super().__init__(message, status=status, param=param)
        self.headers = headers


class Exchange:
    """One request and its response. `send` adds the request id to the response's headers and records its status."""

    __slots__ = (
        *("_receive", "_send", "complete", "events", "first_at", "key", "last_usage", "model", "path", "reads_usage"),
        *(
            "left",
            "reported",
            "request_id",
            "route",
            "scope",
            "sent_bytes",
            "started",
            "started_ns",
            "status",
            "streamed",
            "tag",
            "trace",
        ),
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = header_values(scope["headers"], REQUEST_ID)
        valid = len(given) == 1 and VALID_ID.fullmatch(given[0])
        self.request_id = given[0] if valid else os.urandom(16).hex().encode()
        others = without(scope["headers"], REQUEST_ID)
        self.scope: Scope = {**scope, "headers": [*others, (REQUEST_ID, self.request_id)]}
        self.path = path_of(scope)
        self._receive = receive
        self._send = send
        self.status = 0  # of the response; 0 until it starts
        self.started = time.monotonic()
        self.started_ns = time.time_ns()
        self.left = False  # whether the client disconnected
        self.complete = False  # whether the whole response was sent
        self.first_at: float | None = None  # when the response's first bytes were sent
        self.sent_bytes = 0
        self.reads_usage = False
        self.events = 0  # of the response, and its last part with token counts: only with `reads_usage`
        self.last_usage = b""
        self.key, self.tag = f"{os.getpid()}-{next(COUNT)}", ""  # names of this request in reports
        self.reported = False  # whether its first report was made
        self.route = "none"
        self.model: str | None = None
        self.streamed = False
        self.trace: tuple[str, str, str | None, bool] | None = None

    async def receive(self) -> Message:
        """The next message from the client."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the client. Returns the server's own coroutine: every piece comes here."""
        if message["type"] == "http.response.body":
            if self.first_at is None:
                self.first_at = time.monotonic()
            part = message.get("body", b"")
            if self.reads_usage:
                self._read_usage(bytes(part))
            self.sent_bytes += len(part)
            self.complete = not message.get("more_body", False)
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            headers = without(message.get("headers", ()), REQUEST_ID)
            message = {**message, "headers": [*headers, (REQUEST_ID, self.request_id)]}
        return self._send(message)

    def _read_usage(self, part: bytes) -> None:
        self.events += part.count(b"data:")
        if b'_tokens"' in part:
            self.last_usage = part

    async def respond(self, status: int, body: bytes, *headers: Header) -> None:
        """Send a complete response; to HEAD without its body."""
        length = (b"content-length", b"%d" % len(body))
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        shown = b"" if self.scope["method"] == "HEAD" else body
        await self.send({"type": "http.response.body", "body": shown})

    async def fail(self, error: WorkerError) -> None:
        """Send an error in the form of the route's API; nothing when the response has started."""
        if self.status:
            return
        body = error_body(error, {"input": {"route": self.path}})
        extra = error.headers if isinstance(error, HttpRefusal) else ()
        await self.respond(error.status, body, JSON, CLOSE, *extra)


def path_of(scope: Scope) -> str:
    """The request's path as the client wrote it, below the server's root path: nothing is decoded or normalised.

    Empty when the server decoded it to another path, so that two readers could see two paths.
    """
    root = scope.get("root_path", "")
    path = str(scope["path"])
    raw = scope.get("raw_path")
    if raw is not None and raw.partition(b"?")[0] != path.encode("utf-8", "replace"):
        return ""
    return path.removeprefix(root) if root else path


def header_values(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Every value of a header."""
    return [value for key, value in headers if key.lower() == name]


def without(headers: Iterable[Header], *names: bytes) -> list[Header]:
    """The headers without those of these names."""
    return [(key, value) for key, value in headers if key.lower() not in names]


def with_length(scope: Scope, length: int) -> Scope:
    """The scope of the same request with a body of this length."""
    headers = without(scope["headers"], b"content-length", b"transfer-encoding")
    return {**scope, "headers": [*headers, (b"content-length", b"%d" % length)]}
