"""One HTTP/1.1 connection to the platform and one exchange at a time on it.

A general client costs several times the CPU of the piece it carries (figures: benchmarks/README.md), and the outbox
must know more than a general client tells: whether a request that got no answer can have been accepted.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import cast


class NotSent(Exception):
    """The request was provably not accepted: no connection could be made."""


class NoAnswer(Exception):
    """The request went out and no whole answer came back: whether it was accepted is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; `head` is its header lines, each after a line break."""

    status: int
    body: bytes = b""
    head: str = ""

    def header(self, name: str) -> str | None:
        """The value of a header, named in lower case."""
        return _header(self.head, name)


class Connection(asyncio.Protocol):
    """Carries one request at a time.

    `reusable` tells whether another may follow, `answering` whether any of the latest answer has arrived, `asked`
    what is being asked, `left` whether this side has said that it asks nothing more.
    """

    def __init__(self) -> None:
        self.reusable = False
        self.answering = False
        self.asked = b""
        self.left = False
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._received = bytearray()
        self._head: _Head | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The open transport; only valid once connected."""
        assert self._transport is not None
        return self._transport

    async def exchange(self, request: bytes, timeout_s: float) -> Answer:
        """Send `request` and return its answer. Raises NoAnswer; a cancelled exchange closes the connection."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        self._waiter = waiter
        self.asked = request
        self.reusable = self.answering = False
        timer = loop.call_later(timeout_s, self._fail, f"no answer within {timeout_s:g} s")
        try:
            self.transport.write(request)
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None
            self.asked = b""
            self.reusable = self.reusable and not self.left
            if not self.reusable:
                self.close()

    def leave(self) -> None:
        """Close this side alone: the peer sees that nobody will wait, and what it has sent by then still arrives.

        The socket is asked, not the transport, since that of TLS cannot close one side.
        """
        self.left = True
        with (
            suppress(OSError),
            socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as sock,
        ):
            sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give the connection up at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._waiter is None:
            self.close()  # an answer that nobody asked for: the connection is out of step
            return
        self.answering = True
        self._received += data
        try:
            self._advance(ended=False)
        except ValueError as error:
            self._fail(f"an answer that is not HTTP/1.1: {error}")

    def eof_received(self) -> bool:
        """Called by the event loop: the platform closed its side."""
        self._ended()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self._ended()

    def _ended(self) -> None:
        self.reusable = False
        if self._head is not None and self._head.length is None and not self._head.chunked:
            self._advance(ended=True)
        self._fail("the connection was closed before a whole answer came")

    def _fail(self, reason: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NoAnswer(reason))

    def _advance(self, *, ended: bool) -> None:
        if self._head is None:
            self._head = _Head.parse(self._received)
            if self._head is None:
                return
        head = self._head
        body = _chunked_body(self._received) if head.chunked else head.body_of(self._received, ended=ended)
        if body is None:
            return
        self._head = None
        self._received.clear()
        # an answer that overtook its own request leaves the rest of that request unread at the other end
        self.reusable = head.keep_alive and not ended and not self.transport.get_write_buffer_size()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Answer(head.status, body, head.text))


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    text: str
    length: int | None
    chunked: bool
    keep_alive: bool

    @classmethod
    def parse(cls, received: bytearray) -> _Head | None:
        """The head at the start of `received`, which it is cut from; None while it is incomplete."""
        while (end := received.find(b"\r\n\r\n")) >= 0:
            text = received[:end].decode("latin-1")
            del received[: end + 4]
            status = int(text[9:12])
            if status < 200:
                continue  # an interim answer: the real one follows
            empty = status in (204, 304)
            length = "0" if empty else _header(text, "content-length")
            return cls(
                status=status,
                text=text,
                length=None if length is None else int(length),
                chunked=not empty and "chunked" in (_header(text, "transfer-encoding") or "").lower(),
                keep_alive=text.startswith("HTTP/1.1") and (_header(text, "connection") or "").lower() != "close",
            )
        if len(received) > 65536:
            raise ValueError("a head over 64 KiB")
        return None

    def body_of(self, received: bytearray, *, ended: bool) -> bytes | None:
        if self.length is None:
            return bytes(received) if ended else None
        return bytes(received[: self.length]) if len(received) >= self.length else None


def _header(head: str, name: str) -> str | None:
    """A header's value; heads are short and few headers are asked for, so none is taken apart in advance."""
    start = head.lower().find(f"\r\n{name}:")
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find("\r\n", start)
    return head[start : end if end >= 0 else None].strip()


def _chunked_body(received: bytearray) -> bytes | None:
    parts: list[bytes] = []
    at = 0
    while (end := received.find(b"\r\n", at)) >= 0:
        size = int(bytes(received[at:end]).partition(b";")[0], 16)
        start = end + 2
        if size == 0:
            return b"".join(parts) if received.find(b"\r\n", start) >= 0 else None
        if len(received) < start + size + 2:
            return None
        parts.append(bytes(received[start : start + size]))
        at = start + size + 2
    return None
