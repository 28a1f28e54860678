"""The worker's side of the hand-over: gives listening sockets to the engine's server, and asks it to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from worker_vllm.engine.child.handover_protocol import ACCEPT, FINISHED, IDLE, QUERY, RUNNING, STOP
from worker_vllm.engine.process.command import handover_path

ANSWER_TIMEOUT_S = 10.0  # for an answer that follows at once


class Handover:
    """A connection to one engine's server. `ended` is set when that server has gone. Close it with `close`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = {name: asyncio.Event() for name in (ACCEPT, STOP, FINISHED)}
        self._queried: asyncio.Future[bytes] | None = None
        self.ended = asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name="hand-over")

    async def accept(self, listening: Sequence[socket.socket]) -> None:
        """Return once the server accepts on these sockets. Raises OSError or TimeoutError when it does not."""
        socket.send_fds(self._connection, [ACCEPT], [each.fileno() for each in listening])
        await self._answered(ACCEPT)

    async def stop(self) -> None:
        """Return once the server accepts no more. Raises OSError or TimeoutError when it does not answer."""
        self._connection.send(STOP)
        await self._answered(STOP)

    async def finished(self) -> None:
        """After `stop`: return once none of the server's requests is running, or the server has gone."""
        await self._first(self._answers[FINISHED])

    async def has_requests(self) -> bool:
        """Whether the server runs a request; one call at a time. Raises OSError or TimeoutError without answer."""
        self._queried = asyncio.get_running_loop().create_future()
        self._connection.send(QUERY)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await self._queried == RUNNING

    async def close(self) -> None:
        """Close the connection; the server goes on as it is."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._connection.close()

    async def _answered(self, name: bytes) -> None:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._first(self._answers[name])
        if not self._answers[name].is_set():
            raise ConnectionResetError("the engine's server has gone")

    async def _first(self, event: asyncio.Event) -> None:
        """Return when the event is set or the server has gone."""
        waiting = [asyncio.ensure_future(each.wait()) for each in (event, self.ended)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError):
                while answer := await loop.sock_recv(self._connection, 1):
                    if answer in self._answers:
                        self._answers[answer].set()
                    elif answer in (RUNNING, IDLE) and self._queried is not None and not self._queried.done():
                        self._queried.set_result(answer)
        finally:
            self.ended.set()


async def connect(engine_socket: str) -> Handover:
    """Connect to the server that serves on `engine_socket`. Raises OSError where it cannot adopt a socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(handover_path(engine_socket))  # a Unix socket connects at once or not at all
    except OSError:
        connection.close()
        raise
    return Handover(connection)
