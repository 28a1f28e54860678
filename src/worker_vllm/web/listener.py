"""A listening socket that the worker binds once, and answers on whenever the engine's server does not accept on it.

Worker and engine share the socket. It stays open for the worker's whole life, so that the kernel queues connections
while neither of them accepts: no refusal. Every connection that the worker accepts gets one response and is
closed after it, so that its client's next connection can reach the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from typing import cast

from worker_vllm.web.health import WebResponse

logger = logging.getLogger(__name__)

Respond = Callable[[str, str], WebResponse]  # of method and request target

CONNECTIONS = 1024  # open at once; the kernel queues further ones
ACCEPTS_PER_TURN = 64
HEAD_BYTES = 65536
EXCHANGE_TIMEOUT_S = 10.0  # for the request's head
LINGER_S = 2.0  # for the rest of a request's body, which is read and dropped
RETRY_ACCEPT_S = 0.5  # after the process ran out of file descriptors
BAD_REQUEST = WebResponse(400, {"Content-Type": "text/plain"}, b"this is not an HTTP request\n")


class Listener:
    """Answers on one listening socket between `accept` and `pause`; owns the socket until `close`.

    Create it inside the running loop.
    """

    def __init__(self, listening: socket.socket, respond: Respond) -> None:
        self.socket = listening
        self._respond = respond
        self._loop = asyncio.get_running_loop()
        self._accepting = False
        self._exchanges: set[AnsweredConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def accepting(self) -> bool:
        """Whether the worker accepts on the socket."""
        return self._accepting

    def accept(self) -> None:
        """Accept connections, the queued ones first."""
        if not self._accepting:
            self._accepting = True
            self._loop.add_reader(self.socket, self._on_connection)

    def pause(self) -> None:
        """Accept no more; connections that were accepted get their response. The socket stays open."""
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self.socket)

    async def wait_idle(self) -> None:
        """Return when no accepted connection is open."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop and close the socket; unfinished exchanges are aborted."""
        self.pause()
        for task in self._connecting:
            task.cancel()
        for exchange in list(self._exchanges):
            exchange.abort()
        await self._idle.wait()
        self.socket.close()

    def _on_connection(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if not self._accepting or self._open >= CONNECTIONS:
                break
            try:
                connection, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.warning("a connection cannot be accepted: %s", error)
                self._suspend(RETRY_ACCEPT_S)
                return
            connection.setblocking(False)
            self._idle.clear()
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._on_connected)
        if self._open >= CONNECTIONS:
            self._suspend(None)

    @property
    def _open(self) -> int:
        return len(self._exchanges) + len(self._connecting)

    def _suspend(self, seconds: float | None) -> None:
        """Leave connections in the kernel's queue, for a time or until an exchange has ended."""
        self._loop.remove_reader(self.socket)
        if seconds is not None:
            self._loop.call_later(seconds, self._continue)

    def _continue(self) -> None:
        if self._accepting:
            self._loop.add_reader(self.socket, self._on_connection)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: AnsweredConnection(self), connection)
        except OSError:
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    def _on_connected(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        self.ended(None)

    def began(self, exchange: AnsweredConnection) -> None:
        """Count an exchange; called by it."""
        self._exchanges.add(exchange)

    def ended(self, exchange: AnsweredConnection | None) -> None:
        """Count an exchange less; called by it."""
        full = self._open >= CONNECTIONS - 1
        if exchange is not None:
            self._exchanges.discard(exchange)
        if not self._open:
            self._idle.set()
        if full:
            self._continue()

    def answer(self, head: bytes) -> bytes:
        """The response to a request's head, as bytes; called by an exchange."""
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return BAD_REQUEST.encode()
        method, target = words[0].decode("latin-1"), words[1].decode("latin-1")
        return self._respond(method, target).encode(head_only=method == "HEAD")


async def close_listeners(listeners: Iterable[Listener]) -> None:
    """Answer who is connected, for LINGER_S at most, and close the ports."""
    for listener in listeners:
        listener.pause()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await listener.wait_idle()
        await listener.close()


class AnsweredConnection(asyncio.Protocol):
    """One request and its response on one connection.

    After the response the sending side is closed and the rest of the request is read and dropped: closing a
    connection with unread bytes would reset it, and a reset can destroy the response on its way to the client.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._answered = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request's head."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is no subclass
        self._listener.began(self)
        self._timer = self._loop.call_later(EXCHANGE_TIMEOUT_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """Answer once the head is complete."""
        if self._answered:
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._send(self._listener.answer(bytes(self._head)))
        elif len(self._head) > HEAD_BYTES:
            self._send(BAD_REQUEST.encode())

    def eof_received(self) -> bool:
        """The client sends nothing more: close at once where it has its response."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The exchange is over."""
        if self._timer is not None:
            self._timer.cancel()
        self._listener.ended(self)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, response: bytes) -> None:
        assert self._transport is not None
        assert self._timer is not None
        self._answered = True
        self._head.clear()
        self._transport.write(response)
        self._transport.write_eof()
        self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_S, self._transport.close)
