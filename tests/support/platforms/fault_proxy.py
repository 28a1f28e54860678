"""A TCP proxy before a gateway for the faults that need the socket: cut, reset, mute, slow; by operation and seed.

It knows as much HTTP as workers speak: one request at a time on a connection, bodies with a length.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit


class Towards(enum.Enum):
    """The direction of the bytes that a fault concerns: requests go to the gateway, answers to the worker."""

    GATEWAY = enum.auto()
    WORKER = enum.auto()


@dataclass(slots=True)
class SocketFault:
    """A fault of the connections of requests of one operation; `hits` counts the requests that it struck."""

    operation: str
    probability: float = 1.0
    times: int | None = None
    hits: int = 0


@dataclass(slots=True)
class Cut(SocketFault):
    """Ends the connection in order (FIN).

    Before the gateway sees the request; else after it has answered; with `held_s` when it has not answered so long.
    """

    before: bool = False
    held_s: float | None = None


@dataclass(slots=True)
class Reset(Cut):
    """The same with a TCP reset (RST), which also discards what was on its way to the worker."""


@dataclass(slots=True)
class Mute(SocketFault):
    """Accepts the bytes of one direction and forwards none; cuts after `for_s`, else when the worker closes."""

    towards: Towards = Towards.WORKER
    for_s: float | None = None


@dataclass(slots=True)
class Slow(SocketFault):
    """Forwards the bytes of one direction at this rate, `CHUNKS_PER_S` chunks a second."""

    towards: Towards = Towards.WORKER
    bytes_per_s: int = 1_000


CHUNKS_PER_S = 20
ACCEPTING_TURNS = 3  # of the event loop, from an accepted connection to its first callback
Kind = TypeVar("Kind", bound=Mute | Slow)


class FaultProxy:
    """Listens on a port of its own and forwards to one gateway."""

    def __init__(self, gateway_url: str, faults: Sequence[SocketFault], seed: int = 0) -> None:
        split = urlsplit(gateway_url)
        self._target = (split.hostname, split.port)
        self._path = split.path
        self._random = random.Random(seed)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._closing = False
        self.faults = list(faults)

    @property
    def url(self) -> str:
        """The gateway's address with this proxy's port."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=64 * 1024 * 1024)

    async def close(self) -> None:
        """Close every connection, those that were accepted in this moment too."""
        assert self._server is not None
        self._closing = True
        self._server.close()
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted connection is closed in the next turn of the loop

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closing:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))  # asyncio logs when its own task is cancelled
        self._connections.add(task)
        await asyncio.wait([task])
        self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target, limit=64 * 1024 * 1024)
            writers.append(upstream_writer)
            while await self._exchange(Side(reader, writer), Side(upstream_reader, upstream_writer)):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for each in writers:
                each.transport.abort()

    async def _exchange(self, worker: Side, gateway: Side) -> bool:
        """Forward one request and its response; False when the connection is to be cut."""
        request = await worker.message()
        fault = self._decide(request.split(b" ", 2)[1].decode().split("/", 4)[3].partition("?")[0])
        if isinstance(fault, Cut) and fault.before:
            return worker.end(fault)
        if mute := _towards(Towards.GATEWAY, fault, Mute):
            return await worker.ignore(mute.for_s)
        await gateway.send(request, _towards(Towards.GATEWAY, fault, Slow))
        held_s = fault.held_s if isinstance(fault, Cut) else None
        try:
            async with asyncio.timeout(held_s):
                response = await _unless_closed(gateway, worker)
        except TimeoutError:
            return worker.end(fault)
        if response is None or (isinstance(fault, Cut) and held_s is None):
            return worker.end(fault)
        if mute := _towards(Towards.WORKER, fault, Mute):
            return await worker.ignore(mute.for_s)
        await worker.send(response, _towards(Towards.WORKER, fault, Slow))
        return True

    def _decide(self, operation: str) -> SocketFault | None:
        for fault in self.faults:
            left = fault.times is None or fault.hits < fault.times
            if fault.operation == operation and left and self._random.random() < fault.probability:
                fault.hits += 1
                return fault
        return None


def _towards(direction: Towards, fault: SocketFault | None, kind: type[Kind]) -> Kind | None:
    """The fault if it is of this kind and concerns this direction."""
    return fault if isinstance(fault, kind) and fault.towards is direction else None


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

    async def send(self, message: bytes, slow: Slow | None) -> None:
        """Forward a message: at once, or at the rate of the fault."""
        size = len(message) if slow is None else max(1, slow.bytes_per_s // CHUNKS_PER_S)
        for at in range(0, len(message), size):
            if at:
                await asyncio.sleep(1 / CHUNKS_PER_S)
            self.writer.write(message[at : at + size])
            await self.writer.drain()

    async def ignore(self, for_s: float | None) -> bool:
        """Read and discard until the peer closes or the time is over; the connection ends in both cases."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                while await self.reader.read(65536):
                    pass
        return False

    def end(self, fault: SocketFault | None) -> bool:
        """End the connection as the fault says: by a reset, or in order; False."""
        if isinstance(fault, Reset):
            linger = struct.pack("ii", 1, 0)  # on, for 0 seconds
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False


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
async def faulty(gateway_url: str, *faults: SocketFault, seed: int = 0) -> AsyncIterator[FaultProxy]:
    """A proxy for the length of the block."""
    proxy = FaultProxy(gateway_url, faults, seed)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
