"""Clients on kept connections that cost little: each sends its next request when its answer is complete."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any, cast

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
EVENT = b"data: "


@dataclass(frozen=True, slots=True)
class Load:
    """So many clients at once, for a time, with one request that has so many tokens."""

    name: str
    clients: int
    seconds: float
    tokens: int
    stream: bool

    def request(self, port: int) -> bytes:
        """The request's bytes."""
        body: dict[str, Any] = {"model": "parrot", "prompt": "one two three four", "max_tokens": self.tokens}
        body |= {"temperature": 0, "ignore_eos": True, "stream": self.stream}
        content = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@dataclass(slots=True)
class Seen:
    """What all clients of a load saw: durations in seconds."""

    wall_s: float = 0.0
    first_tokens_s: list[float] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection; sends until the deadline. `over` is done when its last answer is complete."""

    def __init__(self, request: bytes, deadline: float, seen: Seen) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._deadline = deadline
        self._seen = seen
        self._transport: asyncio.Transport | None = None
        self._began = 0.0
        self._received = b""
        self._first = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Note the first event, and the end of the answer."""
        now = time.perf_counter()
        self._received += data
        if not self._first and EVENT in self._received:
            self._first = True
            self._seen.first_tokens_s.append(now - self._began)
        if not is_complete(self._received):
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            self.over.set_exception(RuntimeError(f"refused: {self._received[:500]!r}"))
            return
        self._seen.answers_s.append(now - self._began)
        if now < self._deadline:
            self._send()
        elif not self.over.done():
            self.over.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends before the deadline is an error."""
        if not self.over.done():
            self.over.set_exception(error or ConnectionError("the server closed the connection"))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _send(self) -> None:
        assert self._transport is not None
        self._received, self._first = b"", False
        self._began = time.perf_counter()
        self._transport.write(self._request)


def is_complete(received: bytes) -> bool:
    """Whether a response has arrived whole: by its last chunk, or by its length."""
    head, separator, body = received.partition(HEAD_END)
    if not separator:
        return False
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        return body.endswith(LAST_CHUNK)
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


async def apply(load: Load, port: int) -> Seen:
    """Run one load against a server."""
    seen = Seen()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    request = load.request(port)
    clients = []
    for _ in range(load.clients):
        _, client = await loop.create_connection(
            lambda: Client(request, began + load.seconds, seen), "127.0.0.1", port
        )
        clients.append(client)
    try:
        await asyncio.gather(*(client.over for client in clients))
    finally:
        for client in clients:
            client.close()
    seen.wall_s = time.perf_counter() - began
    return seen
