"""A TCP proxy before a gateway that cuts connections: the faults that need the socket, by operation and seed.

It knows as much HTTP as workers speak: one request at a time on a connection, bodies with a length.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(slots=True)
class Cut:
    """Cuts the connections of requests of one operation.

    Before the gateway sees the request; else after it has answered; with `held_s` when it has not answered so long.
    """

    operation: str
    before: bool = False
    held_s: float | None = None
    probability: float = 1.0
    times: int | None = None
    hits: int = 0


class FaultProxy:
    """Listens on a port of its own and forwards to one gateway."""

    def __init__(self, gateway_url: str, cuts: Sequence[Cut], seed: int = 0) -> None:
        split = urlsplit(gateway_url)
        self._target = (split.hostname, split.port)
        self._path = split.path
        self._random = random.Random(seed)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.cuts = list(cuts)

    @property
    def url(self) -> str:
        """The gateway's address with this proxy's port."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=64 * 1024 * 1024)

    async def close(self) -> None:
        """Close every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target, limit=64 * 1024 * 1024)
            writers.append(upstream_writer)
            while await self._exchange(Side(reader, writer), Side(upstream_reader, upstream_writer)):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(task)
            for each in writers:
                each.transport.abort()

    async def _exchange(self, client: Side, gateway: Side) -> bool:
        """Forward one request and its response; False when the connection is to be cut."""
        request = await client.message()
        cut = self._decide(request.split(b" ", 2)[1].decode().split("/", 4)[3].partition("?")[0])
        if cut is not None and cut.before:
            return False
        gateway.writer.write(request)
        held_s = None if cut is None else cut.held_s
        try:
            async with asyncio.timeout(held_s):
                response = await _unless_closed(gateway, client)
        except TimeoutError:
            return False
        if response is None or (cut is not None and held_s is None):
            return False
        client.writer.write(response)
        await client.writer.drain()
        return True

    def _decide(self, operation: str) -> Cut | None:
        for cut in self.cuts:
            left = cut.times is None or cut.hits < cut.times
            if cut.operation == operation and left and self._random.random() < cut.probability:
                cut.hits += 1
                return cut
        return None


@dataclass(slots=True)
class Side:
    """One of the two connections."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pending: bytes = b""

    async def message(self) -> bytes:
        """One request or response with its body."""
        head = self.pending + await self.reader.readuntil(b"\r\n\r\n")
        self.pending = b""
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await self.reader.readexactly(length)


async def _unless_closed(gateway: Side, client: Side) -> bytes | None:
    """The gateway's response; None when the client closes before it, so that the gateway is to see that too."""
    answering = asyncio.ensure_future(gateway.message())
    closing = asyncio.ensure_future(client.reader.read(1))
    try:
        await asyncio.wait({answering, closing}, return_when=asyncio.FIRST_COMPLETED)
        if closing.done():
            client.pending = closing.result()
            return await answering if client.pending else None
        return answering.result()
    finally:
        for task in (answering, closing):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            await asyncio.gather(answering, closing, return_exceptions=True)


@asynccontextmanager
async def cutting(gateway_url: str, *cuts: Cut, seed: int = 0) -> AsyncIterator[FaultProxy]:
    """A proxy for the length of the block."""
    proxy = FaultProxy(gateway_url, cuts, seed)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
