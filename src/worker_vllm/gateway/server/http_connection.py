"""The gateway's HTTP/1.1 server connection: parsed by httptools, a complete response sent in one write.

uvicorn took 75-85 µs of CPU for an empty request where this takes a third of it, and a job costs at least three.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httptools

from worker_vllm.gateway.server.request import App, GatewayRequest, ReceiveLimits

logger = logging.getLogger(__name__)

LARGEST_HEAD = 256 * 1024  # of a head, of a chunk's line, of trailers
LINGER_S = 2.0  # time for a client that still sends to read its refusal before the connection closes
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class ServerConnection(asyncio.Protocol):
    """One client's connection; requests are served in order, one at a time."""

    def __init__(self, app: App, receive_limits: ReceiveLimits, connections: set[ServerConnection]) -> None:
        self.closed = False
        self._app = app
        self._receive_limits = receive_limits
        self._largest_body = receive_limits.largest_body
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._notify: Callable[[], None] | None = None
        self._waiting: deque[tuple[GatewayRequest, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        self._keep_alive = True
        self._paused = False
        self._discarding = False  # a refused body is dropped, and no request follows it
        self._timer: asyncio.TimerHandle | None = None
        self._timer_limit_s = 0.0  # the limit that `_timer` was set for
        self._request: GatewayRequest | None = None
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass
        self._connections.add(self)
        self._set_timer(self._receive_limits.head_s)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop: notify the handler of the current request."""
        self.closed = True
        self._connections.discard(self)
        self._set_timer(0.0)
        self._writable.set()
        self._lost.set()
        if self._notify is not None:
            self._notify()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._discarding:
            return
        if self._declined:
            self._read_declined(data)
            return
        self._unparsed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if not self._discarding:
                self._read_declined(data[offer.args[0] :])
        except httptools.HttpParserError:
            if not self._discarding:
                self._refuse()
        if self._unparsed > LARGEST_HEAD:
            self.abort()
        if self._head_complete:
            self._set_timer(self._receive_limits.body_s)
        elif self._unparsed:
            self._set_timer(self._receive_limits.head_s)

    def pause_writing(self) -> None:
        """Called by the event loop: the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._writable.set()

    def write(self, data: bytes) -> None:
        """See `ClientConnection.write`."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    def finish(self) -> None:
        """See `ClientConnection.finish`."""
        self._busy = False
        self._notify = None
        if not self._keep_alive:
            self._close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._serve_next)

    def abort(self) -> None:
        """See `ClientConnection.abort`."""
        if self._transport is not None:
            self._transport.abort()

    def on_close(self, notify: Callable[[], None] | None) -> None:
        """See `ClientConnection.on_close`."""
        self._notify = notify

    async def drain(self) -> None:
        """See `ClientConnection.drain`."""
        if not self._writable.is_set():
            await self._writable.wait()

    async def end(self) -> None:
        """Close now, or after the current response; return when closed."""
        self._keep_alive = False
        if not self._busy:
            self._close()
        await self._lost.wait()

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; trailers after the body are ignored."""
        if not self._head_complete:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser: refuse the request now if its head is not admitted; its body is not kept."""
        self._head_complete = True
        self._unparsed = 0
        parser, headers = self._parser, self._headers
        self._request = request = GatewayRequest(self, self._target, parser.get_method().decode("latin-1"), headers)
        has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        if not self._app.admit(request) and has_body:
            self._discarding = True
            request.extra_headers.append((b"connection", b"close"))
            self._enqueue(b"", keep_alive=False)
        elif headers.get(b"expect", b"").lower() == b"100-continue":
            self.write(CONTINUE)

    def on_chunk_header(self) -> None:
        """Called by the parser: the line before a chunk was read."""
        self._unparsed = 0

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self._discarding:
            return
        self._unparsed = 0
        self._body_size += len(body)
        if self._body_size <= self._largest_body:
            self._body.append(body)
        elif self._body_size > 10 * self._largest_body:
            self.abort()
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        """Called by the parser; before the body when the client offers a protocol upgrade."""
        if self._discarding:
            return
        self._declined = self._parser.should_upgrade()
        if not self._declined:
            self._accept()

    def _read_declined(self, data: bytes) -> None:
        """Read the body of a request with an upgrade offer (Java's and .NET's clients offer HTTP/2).

        Answering in HTTP/1.1 declines the offer. The parser does not parse this body, so its length delimits it here.
        """
        length = self._headers.get(b"content-length", b"0")
        if b"transfer-encoding" in self._headers or not length.isdigit():
            self._refuse()
            return
        missing = int(length) - self._body_size
        if missing:
            self.on_body(data[:missing])
        if len(data) >= missing:
            self._declined = False
            self._accept()
            self._parser = httptools.HttpRequestParser(self)
            if rest := data[missing:]:
                self.data_received(rest)

    def _accept(self) -> None:
        body = b"".join(self._body) if self._body_size <= self._largest_body else None
        self._enqueue(body, keep_alive=self._parser.should_keep_alive())
        self._reset()

    def _enqueue(self, body: bytes | None, *, keep_alive: bool) -> None:
        assert self._request is not None
        self._request.receive(body, chunked=self._parser.get_http_version() != "1.0")
        self._waiting.append((self._request, keep_alive))
        if not self._busy:
            self._serve_next()
        else:
            self._pause()

    def _pause(self) -> None:
        """Stop reading until the pending requests are answered."""
        self._set_timer(0.0)
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._unparsed = 0  # bytes received since the parser's last callback
        self._head_complete = False
        self._declined = False
        self._set_timer(0.0)

    def _set_timer(self, limit_s: float) -> None:
        """Start a timer unless one with this limit runs; 0 stops it."""
        if limit_s == self._timer_limit_s or (limit_s and self._paused):
            return
        self._timer_limit_s = limit_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if limit_s:
            self._timer = asyncio.get_running_loop().call_later(limit_s, self._on_timeout)

    def _on_timeout(self) -> None:
        if self._busy:  # a response is in progress: close after it
            self._keep_alive = False
            self._pause()
            return
        if self._unparsed or self._head_complete:
            self.write(REQUEST_TIMEOUT)
        self._close()

    def _serve_next(self) -> None:
        if self._busy or not self._waiting or self.closed:
            return
        request, keep_alive = self._waiting.popleft()
        self._busy = True
        self._keep_alive = self._keep_alive and keep_alive
        try:
            answering = self._app.handle(request)
        except Exception as error:
            self._fail(request, error)
            return
        if answering is not None:
            self._task = asyncio.get_running_loop().create_task(self._answer(request, answering))
        if self._paused and not self._waiting and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    async def _answer(self, request: GatewayRequest, answering: Coroutine[Any, Any, None]) -> None:
        try:
            await answering
        except Exception as error:
            self._fail(request, error)

    def _fail(self, request: GatewayRequest, error: Exception) -> None:
        logger.error("%s %s: internal error in the gateway", request.method, request.path, exc_info=error)
        self.abort()

    def _refuse(self) -> None:
        self.write(BAD_REQUEST)
        self._close()

    def _close(self) -> None:
        if self._transport is None:
            return
        if self._discarding and not self._paused and not self.closed:
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)
        else:
            self._transport.close()
