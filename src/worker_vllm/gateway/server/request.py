"""One HTTP request as the gateway's operations read it: an ASGI scope, a bounded body, the client's disconnect."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.types import Receive, Scope

from worker_vllm.errors import RequestError

MULTIPART_REFUSAL = (
    'a multipart form cannot travel inside a job: send JSON with the file as base64, {"file": "<base64>", "model": …}'
)
DISCARDED = 10  # times the largest body that is read and discarded, so that its client reads the refusal

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """Limits for receiving a request: bytes of its body, seconds for its head and for its body."""

    largest_body: int
    head_s: float
    body_s: float


class ClientDisconnected(Exception):
    """The client closed its connection before the response was complete."""


class GatewayRequest:
    """A request whose body was read before its operation is called."""

    __slots__ = (
        "_body",
        "_receive",
        "_watcher",
        "disconnected",
        "extra_headers",
        "headers",
        "method",
        "path",
        "path_params",
        "query_string",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path = unquote(scope["path"])
        self.path_params: Mapping[str, str] = scope.get("path_params", {})
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])  # names in lower case
        self.extra_headers: list[Header] = []  # of the response, whatever it is
        self.disconnected = False
        self._receive = receive
        self._body: bytes | None = b""
        self._watcher: asyncio.Task[None] | None = None

    async def read_body(self, largest: int) -> None:
        """Read the body; one that is larger than `largest` is discarded. Raises ClientDisconnected."""
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size <= largest:
                pieces.append(piece)
            else:
                pieces.clear()
                if size > DISCARDED * largest:
                    self.extra_headers.append((b"connection", b"close"))
                    break
        self._body = b"".join(pieces) if size <= largest else None

    def param(self, name: str) -> str:
        """A part of the path by its name in the route, decoded; empty when the route has none of that name."""
        value = self.path_params.get(name, "")
        return unquote(value) if "%" in value else value

    def header(self, name: bytes) -> str:
        """A request header's value, empty when absent; `name` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

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

    def on_disconnect(self, notify: Callable[[], None] | None) -> None:
        """Call `notify` when the client disconnects; None ends the watch."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if notify is not None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch(notify))

    async def _watch(self, notify: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.disconnected = True
        notify()


def is_multipart(media_type: str) -> bool:
    """Whether a content type, in lower case, is that of a multipart form."""
    return media_type.startswith("multipart/")
