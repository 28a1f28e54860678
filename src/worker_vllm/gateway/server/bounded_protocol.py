"""uvicorn's HTTP/1.1 connection with the bounds that it leaves open: size and time of heads, time of bodies.

It also reads the body of a request that offers a protocol upgrade (Java's and .NET's clients offer HTTP/2), which
httptools does not parse, and declines the offer by answering in HTTP/1.1.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker_vllm.gateway.server.request import ReceiveLimits

LARGEST_HEAD = 256 * 1024  # of a head, of a chunk's line, of trailers
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, *, limits: ReceiveLimits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._unparsed = 0  # bytes received since the parser's last callback
        self._in_body = False
        self._missing = 0  # bytes of the body of a request whose offer to upgrade was declined
        self._timer: asyncio.TimerHandle | None = None
        self._timer_limit_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        self._set_timer(self._limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._set_timer(0.0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._unset_keepalive_if_required()
        if self._missing:
            data = self._read_declined(data)
        if data:
            self._feed(data)
        if self._in_body or self._missing:
            self._set_timer(self._limits.body_s)
        elif self._unparsed:
            self._set_timer(self._limits.head_s)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        super().on_message_begin()
        self._in_body = False

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._unparsed = 0
        self._in_body = True
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; trailers after the body are no headers."""
        if not self._in_body:
            super().on_header(name, value)

    def on_chunk_header(self) -> None:
        """Called by the parser: the line before a chunk was read."""
        self._unparsed = 0

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser; before the body when the client offers a protocol upgrade."""
        self._unparsed = 0
        if self.parser.should_upgrade() and not self._should_upgrade():
            headers = dict(self.headers)
            length = headers.get(b"content-length", b"0")
            if b"transfer-encoding" in headers or not length.isdigit():
                self.send_400_response("a body without a length cannot follow an offer to upgrade")
                return
            self._missing = int(length)
        if not self._missing:
            self._complete()

    def _complete(self) -> None:
        self._in_body = False
        self._set_timer(0.0)
        super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._should_upgrade():
                self._set_timer(0.0)
                self.handle_websocket_upgrade()
            elif rest := data[offer.args[0] :]:
                self.data_received(rest)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._unparsed > LARGEST_HEAD:
            self.transport.abort()

    def _read_declined(self, data: bytes) -> bytes:
        """Read a part of the body that the parser does not see; returns what follows it."""
        body, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(body)
        self.on_body(body)
        if not self._missing:
            self._complete()
        return rest

    def _set_timer(self, limit_s: float) -> None:
        """Start a timer unless one with this limit runs; 0 stops it."""
        if limit_s == self._timer_limit_s:
            return
        self._timer_limit_s = limit_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if limit_s:
            self._timer = self.loop.call_later(limit_s, self._on_timeout)

    def _on_timeout(self) -> None:
        limit_s, self._timer_limit_s = self._timer_limit_s, 0.0
        if self.flow.read_paused:  # the gateway itself is late: the client cannot send
            self._set_timer(limit_s)
            return
        cycle = self.cycle
        if cycle is not None and not self._in_body and not cycle.response_complete:
            cycle.keep_alive = False  # the response to an earlier request is in progress: close after it
            return
        unanswered = cycle is None or not cycle.response_started or not self._in_body
        if unanswered and (self._unparsed or self._in_body):
            self.transport.write(REQUEST_TIMEOUT)
        self.transport.close()
