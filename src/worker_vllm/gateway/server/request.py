"""One HTTP request and the way to answer it; what the routes know of HTTP, whoever serves them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs, unquote

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.gateway.json_bytes_old import dump

JSON_TYPE = b"application/json"
MULTIPART = (
    'a multipart form cannot travel inside a job: send JSON with the file as base64, {"file": "<base64>", "model": …}'
)
JSON_UTF8_TYPE = b"application/json; charset=utf-8"
EVENT_STREAM_TYPE = b"text/event-stream; charset=utf-8"

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

Header = tuple[bytes, bytes]

# A route's handler has answered when it returns None; else what it returns will answer.
PendingResponse: TypeAlias = Coroutine[Any, Any, None] | None


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """What one request may cost before it is looked at: bytes of its body, seconds for its head and for its body."""

    largest_body: int
    head_s: float
    body_s: float


class ClientDisconnected(Exception):
    """The other side closed its connection before it had its answer."""


class ClientConnection(Protocol):
    """The connection that a request came by."""

    closed: bool

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""

    def finish(self) -> None:
        """The answer is complete."""

    def abort(self) -> None:
        """Cut the connection at once."""

    def on_close(self, notify: Callable[[], None] | None) -> None:
        """Have `notify` called when the other side hangs up; None takes it back."""

    async def drain(self) -> None:
        """Return when the other side has read enough for more to be sent."""


class GatewayRequest:
    """A whole request; answered once, by `answer` or by `start_stream` and `write`."""

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
        self.refusal: WorkerError | None = None  # known from the head alone
        self._connection = connection
        self._body: bytes | None = b""
        self._head = b""
        self._chunked = True

    def receive(self, body: bytes | None, *, chunked: bool) -> None:
        """The body, None when it was larger than anything is allowed to be; whether its client knows chunks."""
        self._body = body
        self._chunked = chunked

    @property
    def disconnected(self) -> bool:
        """Whether the other side has hung up."""
        return self._connection.closed

    def header(self, name: bytes) -> str:
        """A request header's value, empty when it is not there; `name` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def expect_method(self, methods: str) -> None:
        """Raises RequestError 405, with the header that names the methods, when this one is not among them."""
        if self.method not in methods.split():
            self.extra_headers.append((b"allow", methods.replace(" ", ", ").encode()))
            raise RequestError(f"{self.method} {self.path}: expected {methods.replace(' ', ' or ')}", status=405)

    def query(self) -> Mapping[str, str]:
        """The query string; of repeated names the last value."""
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
                raise RequestError(MULTIPART) from None
            raise RequestError(f"the body is not JSON: {error}") from None

    def answer(self, status: int, body: bytes = b"", content_type: bytes = JSON_UTF8_TYPE) -> None:
        """The whole answer at once."""
        headers = [(b"content-length", b"%d" % len(body)), *self.extra_headers]
        if body:
            headers.append((b"content-type", content_type))
        self._connection.write(_head(status, headers) + (b"" if self.method == "HEAD" else body))
        self._connection.finish()

    def start_stream(self, content_type: bytes) -> None:
        """Status 200 and headers, sent with the first piece."""
        headers = [(b"content-type", content_type), (b"cache-control", b"no-cache"), *self.extra_headers]
        headers.append((b"transfer-encoding", b"chunked") if self._chunked else (b"connection", b"close"))
        self._head = _head(200, headers)

    async def write(self, piece: bytes, *, more: bool = True) -> None:
        """One piece, on the wire when this returns; waits while the other side does not read."""
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
        """Have `notify` called when the other side hangs up; None takes it back."""
        self._connection.on_close(notify)

    def mute(self) -> None:
        """From now on nothing of the answer reaches the other side."""
        self._connection = _MutedConnection(self._connection)

    def abort(self) -> None:
        """Cut the connection without an answer, or in the middle of one."""
        self._connection.abort()


class App(Protocol):
    """What is served."""

    def admit(self, request: GatewayRequest) -> bool:
        """Whether the body may be read, decided by the head; when not, `handle` answers without it."""

    def handle(self, request: GatewayRequest) -> PendingResponse:
        """Answer a request, or return what will answer it."""


class _MutedConnection:
    """A connection whose other side hears nothing any more."""

    def __init__(self, connection: ClientConnection) -> None:
        self.closed = False
        self.abort = connection.abort
        self.on_close = connection.on_close

    def write(self, data: bytes) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""

    async def drain(self) -> None:
        """There is nothing to wait for."""


def is_multipart(media_type: str) -> bool:
    """Whether a content type, in lower case, is that of a multipart form."""
    return media_type.startswith("multipart/")


def answer_error(request: GatewayRequest, error: WorkerError, *, openai: bool = False) -> None:
    """The error as the platform words it, one sentence under `error`; as OpenAI clients expect it on their routes."""
    body = error.to_body().encode() if openai else dump({"error": error.message})
    request.answer(error.status, body)


def _head(status: int, headers: list[Header]) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return STATUS_LINES.get(status, b"HTTP/1.1 %d Error\r\n" % status) + lines + b"\r\n"
