"""One HTTP/1.1 connection to the platform, with one exchange at a time.

A general client costs several times the CPU of the piece it carries (figures: benchmarks/README.md), and the outbox
must know what a general client does not report: whether a request without an answer can have been accepted.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from worker_vllm.serverless.http.response_parser import AnswerParser, PlatformAnswer

__all__ = ["NoAnswer", "NotSent", "PlatformAnswer", "PlatformConnection", "RequestAbandoned"]

TIMEOUT_CHECK_S = 1.0  # a timeout counts only after as long without a byte
LATE_S = 0.5  # a timer that fires later than this means that the process was frozen or blocked
MAX_TIMEOUT_CHECKS = 10


class NotSent(Exception):
    """The request was provably not accepted: no connection could be made."""


class NoAnswer(Exception):
    """The request was sent and no complete answer came: whether it was accepted is unknown."""


class RequestAbandoned(NoAnswer):
    """This side had half-closed the connection: the missing answer is no fault of the platform."""


class PlatformConnection(asyncio.Protocol):
    """Carries one request at a time.

    `request` is the first part of the request in flight, `reusable` whether another may follow, `answering` whether
    any byte of the latest answer has arrived, `ended` whether the platform has closed the connection, `half_closed`
    whether this side has.
    """

    def __init__(self) -> None:
        self.reusable = self.answering = self.ended = self.half_closed = False
        self.request = b""
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[PlatformAnswer] | None = None
        self._parser = AnswerParser()
        self._reads = 0  # reads from the socket so far
        self._timer: asyncio.TimerHandle | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The open transport; only valid once connected."""
        assert self._transport is not None
        return self._transport

    async def exchange(self, request: Sequence[bytes], timeout_s: float) -> PlatformAnswer:
        """Send the parts of a request and return its answer.

        Raises NoAnswer; a cancelled exchange closes the connection.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PlatformAnswer] = loop.create_future()
        self._waiter = waiter
        self.request = request[0]
        self.reusable = self.answering = False
        self._timer = loop.call_later(timeout_s, self._on_timeout, timeout_s)
        try:
            self.transport.writelines(request)
            return await waiter
        finally:
            self._timer.cancel()
            self._waiter = None
            self.request = b""
            self.reusable = self.reusable and not self.half_closed
            if not self.reusable:
                self.close()

    def half_close(self) -> None:
        """Close this side alone: the peer sees that the worker has gone, and what it has sent by then still arrives.

        Uses the socket, not the transport, since a TLS transport cannot close one side.
        """
        self.half_closed = True
        with (
            suppress(OSError),
            socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as sock,
        ):
            sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Abort the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._waiter is None or self._waiter.done():
            self.reusable = False
            self.close()  # an answer without a request: the connection is out of sync
            return
        self.answering = True
        self._reads += 1
        try:
            self._settle(self._parser.feed(data))
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
        self.ended = True
        self.reusable = False
        self._settle(self._parser.end())
        self._fail("the connection was closed before a complete answer came")

    def _on_timeout(self, timeout_s: float, checks: int = 0, reads: int = -1) -> None:
        """Called at the timeout. The clock runs on while the process is frozen, so read again before it counts."""
        loop = asyncio.get_running_loop()
        check_s = min(timeout_s, TIMEOUT_CHECK_S)
        due = self._timer.when() if self._timer is not None else loop.time()
        on_time = loop.time() - due < LATE_S
        if checks >= MAX_TIMEOUT_CHECKS or (checks and on_time and self._reads == reads):
            self._fail(f"no answer within {timeout_s:g} s")
        else:
            self._timer = loop.call_later(check_s, self._on_timeout, timeout_s, checks + 1, self._reads)

    def _settle(self, answer: PlatformAnswer | None) -> None:
        if answer is None:
            return
        # after an answer that came before its request was sent completely, the peer may not read the rest
        sent = not self.transport.get_write_buffer_size()
        self.reusable = self._parser.keep_alive and sent and not (self._parser.surplus or self.ended)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def _fail(self, reason: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception((RequestAbandoned if self.half_closed else NoAnswer)(reason))
