"""One HTTP/1.1 connection to the platform and one exchange at a time on it.

A general client costs several times the CPU of the piece it carries (figures: benchmarks/README.md), and the outbox
must know more than a general client tells: whether a request that got no answer can have been accepted.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import cast

from worker_vllm.serverless.http.response_parser import AnswerParser, PlatformAnswer

__all__ = ["Left", "NoAnswer", "NotSent", "PlatformAnswer", "PlatformConnection"]

SECOND_LOOK_S = 1.0  # a time limit is believed only after as long without a byte
LATE_S = 0.5  # a timer that fires later than this was not waited for: the process was frozen or blocked
MOST_LOOKS = 10


class NotSent(Exception):
    """The request was provably not accepted: no connection could be made."""


class NoAnswer(Exception):
    """The request went out and no whole answer came back: whether it was accepted is unknown."""


class Left(NoAnswer):
    """This side had closed the connection: that no answer came says nothing about the platform."""


class PlatformConnection(asyncio.Protocol):
    """Carries one request at a time.

    `reusable` tells whether another may follow, `answering` whether any of the latest answer has arrived, `ended`
    whether the platform has closed it, `asked` what is being asked, `left` whether this side asks nothing more.
    """

    def __init__(self) -> None:
        self.reusable = self.answering = self.ended = self.left = False
        self.asked = b""
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[PlatformAnswer] | None = None
        self._parser = AnswerParser()
        self._heard = 0  # reads from the socket so far
        self._timer: asyncio.TimerHandle | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The open transport; only valid once connected."""
        assert self._transport is not None
        return self._transport

    async def exchange(self, request: bytes, timeout_s: float) -> PlatformAnswer:
        """Send `request` and return its answer. Raises NoAnswer; a cancelled exchange closes the connection."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PlatformAnswer] = loop.create_future()
        self._waiter = waiter
        self.asked = request
        self.reusable = self.answering = False
        self._timer = loop.call_later(timeout_s, self._out_of_time, timeout_s)
        try:
            self.transport.write(request)
            return await waiter
        finally:
            self._timer.cancel()
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
        if self._waiter is None or self._waiter.done():
            self.reusable = False
            self.close()  # an answer that nobody asked for: the connection is out of step
            return
        self.answering = True
        self._heard += 1
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
        self._fail("the connection was closed before a whole answer came")

    def _out_of_time(self, timeout_s: float, looks: int = 0, heard: int = -1) -> None:
        """The time limit is over, by a clock that ran on while the process was frozen: read before believing it."""
        loop = asyncio.get_running_loop()
        look_s = min(timeout_s, SECOND_LOOK_S)
        due = self._timer.when() if self._timer is not None else loop.time()
        on_time = loop.time() - due < LATE_S
        if looks >= MOST_LOOKS or (looks and on_time and self._heard == heard):
            self._fail(f"no answer within {timeout_s:g} s")
        else:
            self._timer = loop.call_later(look_s, self._out_of_time, timeout_s, looks + 1, self._heard)

    def _settle(self, answer: PlatformAnswer | None) -> None:
        if answer is None:
            return
        # an answer that overtook its own request leaves the rest of that request unread at the other end
        sent = not self.transport.get_write_buffer_size()
        self.reusable = self._parser.keep_alive and sent and not (self._parser.surplus or self.ended)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def _fail(self, reason: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception((Left if self.left else NoAnswer)(reason))
