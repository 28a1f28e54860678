"""One HTTP request and its response, independent of the server that parses it."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs, unquote

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.json_bytes import dump

JSON_TYPE = b"application/json"
MULTIPART_REFUSAL = (
    'a multipart form cannot travel inside a job: send JSON with the file as base64, {"file": "<base64>", "model": …}'
)
JSON_UTF8_TYPE = b"application/json; charset=utf-8"
EVENT_STREAM_TYPE = b"text/event-stream; charset=utf-8"

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

Header = tuple[bytes, bytes]

# A route's handler has answered when it returns None; else the returned coroutine answers.
PendingResponse: TypeAlias = Coroutine[Any, Any, None] | None


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """Limits for receiving a request: bytes of its body, seconds for its head and for its body."""

    largest_body: int
    head_s: float
    body_s: float


class ClientDisconnected(Exception):
    """The client closed its connection before the response was complete."""


class ClientConnection(Protocol):
    """The connection that a request arrived on."""

    closed: bool

    def write(self, data: bytes) -> None:
        """Send bytes of the response."""

    def finish(self) -> None:
        """Called when the response is complete."""

    def abort(self) -> None:
        """Close the connection at once."""

    def on_close(self, notify: Callable[[], None] | None) -> None:
        """Set the callback for a disconnect of the client; None removes it."""

    async def drain(self) -> None:
        """Return when the client has read enough for more to be sent."""


class GatewayRequest:
    """A complete request; answered once, by `answer` or by `start_stream` and `write`."""

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_head",
        "extra_headers",
        "headers",
        "method",
        "path",
        "query_string",
        "raw_path",
        "refusal",
    )

    def __init__(
        self, connection: ClientConnection, target: bytes, method: str, headers: Mapping[bytes, bytes]
    ) -> None:
        path, _, query = target.partition(b"?")
        self.method = method
        self.raw_path = path.decode("latin-1")  # percent-encoded, so that it can be split at its slashes
        self.path = unquote(self.raw_path) if b"%" in path else self.raw_path
        self.query_string = query.decode("latin-1")
        self.headers = headers  # names in lower case
        self.extra_headers: list[Header] = []
        self.refusal: WorkerError | None = None  # decided by the head alone
        self._connection = connection
        self._body: bytes | None = b""
        self._head = b""
        self._chunked = True

    def receive(self, body: bytes | None, *, chunked: bool) -> None:
        """Set the body, None when it was over the largest limit; `chunked`: the client supports chunked encoding."""
        self._body = body
        self._chunked = chunked

    @property
    def disconnected(self) -> bool:
        """Whether the client has disconnected."""
        return self._connection.closed

    def header(self, name: bytes) -> str:
        """A request header's value, empty when absent; `name` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def expect_method(self, methods: str) -> None:
        """Raises RequestError 405 and sets the Allow header when the method is none of `methods`."""
        if self.method not in methods.split():
            self.extra_headers.append((b"allow", methods.replace(" ", ", ").encode()))
            raise RequestError(f"{self.method} {self.path}: expected {methods.replace(' ', ' or ')}", status=405)

    def query(self) -> Mapping[str, str]:
        """The query parameters; the last value of a repeated name."""
        return {name: values[-1] for name, values in parse_qs(self.query_string, keep_blank_values=True).items()}

    def body(self, limit: int) -> bytes:
        """The body. Raises RequestError 400 when it is larger than `limit` bytes."""
        if self._body is None or len(self._body) > limit:
            raise RequestError(f"the body is larger than {limit} bytes: send less, or a reference to it")
        return self._body

    def json_text(self, limit: int) -> bytes:
        """The body without a UTF-8 byte order mark. Raises RequestError 400 when it is larger than `limit` bytes."""
        return self.body(limit).removeprefix(codecs.BOM_UTF8)

    def json(self, limit: int) -> Any:
        """The body parsed as JSON, for any content type. Raises RequestError 400."""
        try:
            return json.loads(self.json_text(limit).decode())
        except (ValueError, RecursionError) as error:  # the second: thousands of brackets
            if is_multipart(self.header(b"content-type").lower()):
                raise RequestError(MULTIPART_REFUSAL) from None
            raise RequestError(f"the body is not JSON: {error}") from None

    def answer(self, status: int, body: bytes = b"", content_type: bytes = JSON_UTF8_TYPE) -> None:
        """Send a complete response."""
        headers = [(b"content-length", b"%d" % len(body)), *self.extra_headers]
        if body:
            headers.append((b"content-type", content_type))
        self._connection.write(_head(status, headers) + (b"" if self.method == "HEAD" else body))
        self._connection.finish()

    def start_stream(self, content_type: bytes) -> None:
        """Prepare status 200 and headers; they are sent with the first piece."""
        headers = [(b"content-type", content_type), (b"cache-control", b"no-cache"), *self.extra_headers]
        headers.append((b"transfer-encoding", b"chunked") if self._chunked else (b"connection", b"close"))
        self._head = _head(200, headers)

    async def write(self, piece: bytes, *, more: bool = True) -> None:
        """Send one piece; waits while the client does not read."""
        if self._chunked:
            end = b"" if more else b"0\r\n\r\n"
            piece = b"%x\r\n%b\r\n%b" % (len(piece), piece, end) if piece else end
        self._connection.write(self._head + piece)
        self._head = b""
        if more:
            await self._connection.drain()
        else:
            self._connection.finish()

    def on_disconnect(self, notify: Callable[[], None] | None) -> None:
        """Set the callback for a disconnect of the client; None removes it."""
        self._connection.on_close(notify)

    def mute(self) -> None:
        """Discard everything that is written from now on."""
        self._connection = _MutedConnection(self._connection)

    def abort(self) -> None:
        """Close the connection without a response, or in the middle of one."""
        self._connection.abort()


class App(Protocol):
    """The application behind a server connection."""

    def admit(self, request: GatewayRequest) -> bool:
        """Whether the body may be read, decided by the head; if False, `handle` answers without it."""

    def handle(self, request: GatewayRequest) -> PendingResponse:
        """Answer a request, or return the coroutine that answers it."""


class _MutedConnection:
    """A connection that discards what is written to it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.closed = False
        self.abort = connection.abort
        self.on_close = connection.on_close

    def write(self, data: bytes) -> None:
        """Discard the bytes."""

    def finish(self) -> None:
        """Do nothing."""

    async def drain(self) -> None:
        """Return at once."""


def is_multipart(media_type: str) -> bool:
    """Whether a content type, in lower case, is that of a multipart form."""
    return media_type.startswith("multipart/")


def answer_error(request: GatewayRequest, error: WorkerError, *, openai: bool = False) -> None:
    """Send an error: one sentence under `error`, as RunPod does; with `openai` the OpenAI error object."""
    body = error.to_body().encode() if openai else dump({"error": error.message})
    request.answer(error.status, body)


def _head(status: int, headers: list[Header]) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return STATUS_LINES.get(status, b"HTTP/1.1 %d Error\r\n" % status) + lines + b"\r\n"
