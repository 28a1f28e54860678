"""The engine's client on a socket whose other side misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineRequest
from worker_vllm.errors import EngineError, EngineUnavailable

ASK = EngineRequest("POST", "/v1/completions", b"{}", {"Content-Type": "application/json"})
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
COMPLETE = HEAD + b"Content-Length: 2\r\n\r\n{}"
CUT_SHORT = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
ENCODED = HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"

Script = list[list[bytes | None]]


class Server:
    """A socket that answers by the script: one list for each connection, one entry for each request on it.

    None hangs up instead of answering; a connection hangs up after its last entry.
    """

    def __init__(self, script: Script) -> None:
        self.requests: list[int] = []  # the connection that each request came on
        self._script = script
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._connections = self._connections, self._connections + 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for answer in self._script[number]:
                await reader.readuntil(b"\r\n\r\n{}")
                self.requests.append(number)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[Server, HttpEngine]]:
    """A client of such a server."""
    with tempfile.TemporaryDirectory(prefix="socket-") as directory:
        path = str(Path(directory, "engine.sock"))
        server = Server(script)
        listening = await asyncio.start_unix_server(server.serve, path)
        engine = HttpEngine(f"unix:{path}")
        try:
            yield server, engine
        finally:
            await engine.aclose()
            listening.close()
            await listening.wait_closed()


async def body(engine: HttpEngine) -> bytes:
    response = await engine.request(ASK)
    try:
        return await response.read()
    finally:
        response.close()


async def test_an_idle_connection_that_died_costs_nothing() -> None:
    """The request that finds it dead goes out once more, on a new connection; nothing is sent twice on a live one."""
    async with scripted([[COMPLETE, None], [COMPLETE]]) as (server, engine):
        assert await body(engine) == b"{}"
        assert await body(engine) == b"{}"
    assert server.requests == [0, 0, 1]


async def test_an_engine_that_hangs_up_on_a_new_connection_is_asked_once() -> None:
    async with scripted([[None], [COMPLETE]]) as (server, engine):
        with pytest.raises(EngineUnavailable):
            await body(engine)
    assert server.requests == [0]


async def test_an_engine_that_hangs_up_again_is_asked_twice() -> None:
    async with scripted([[COMPLETE, None], [None], [COMPLETE]]) as (server, engine):
        await body(engine)
        with pytest.raises(EngineUnavailable):
            await body(engine)
    assert server.requests == [0, 0, 1]


async def test_an_answer_cut_short_is_an_error() -> None:
    """Read at once or chunk by chunk, after what did arrive."""
    async with scripted([[CUT_SHORT], [CUT_SHORT]]) as (_, engine):
        with pytest.raises(EngineError, match="ended before it was complete"):
            await body(engine)
        response = await engine.request(ASK)
        pieces = aiter(response.chunks())
        assert await anext(pieces) == b"{}"
        with pytest.raises(EngineError, match="ended before it was complete"):
            await anext(pieces)
        response.close()


HALF_ANSWER = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


@contextlib.asynccontextmanager
async def silent(begins_with: bytes) -> AsyncIterator[HttpEngine]:
    """A client of a server that begins its answers with this, and then neither goes on nor hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(begins_with)
        await over.wait()
        writer.close()

    over = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="socket-") as directory:
        listening = await asyncio.start_unix_server(serve, str(Path(directory, "engine.sock")))
        engine = HttpEngine(f"unix:{directory}/engine.sock")
        try:
            yield engine
        finally:
            over.set()
            await engine.aclose()
            listening.close()
            await listening.wait_closed()


async def test_closing_ends_everyone_who_reads() -> None:
    """A pending read of a chunk or of the complete body, and a read of a chunk that comes afterwards."""
    async with silent(HALF_ANSWER) as engine:
        responses = [await engine.request(ASK) for _ in range(3)]
        streams = [response.chunks() for response in responses[:2]]
        assert [await anext(stream) for stream in streams] == [b"{}", b"{}"]
        waiting = [asyncio.ensure_future(anext(streams[0])), asyncio.create_task(responses[2].read())]
        await asyncio.sleep(0)  # both have begun to wait
        await engine.aclose()
        for reader in (*waiting, anext(streams[1])):
            with pytest.raises(EngineError, match="ended before it was complete"):
                await reader
        for response in responses:
            response.close()


async def test_closing_ends_everyone_who_waits_for_an_answer() -> None:
    """A later request fails with the same error, not with the library's."""
    async with silent(b"") as engine:
        asking = asyncio.create_task(engine.request(ASK))
        for _ in range(20):
            await asyncio.sleep(0)  # until the request has gone out
        await engine.aclose()
        for late in (asking, engine.request(ASK)):
            with pytest.raises(EngineUnavailable, match="does not answer"):
                await late


async def test_a_whole_answer_outlives_the_connection() -> None:
    """What had arrived when the client was closed can still be read."""
    async with scripted([[COMPLETE]]) as (_, engine):
        response = await engine.request(ASK)
        await engine.aclose()
        assert await response.read() == b"{}"


async def test_bodies_are_never_decoded() -> None:
    async with scripted([[ENCODED]]) as (_, engine):
        assert await body(engine) == b"\x1f\x8b"


async def test_without_a_listener_the_engine_is_unavailable() -> None:
    engine = HttpEngine("unix:/nowhere/engine.sock")
    with pytest.raises(EngineUnavailable, match=r"unix:/nowhere/engine\.sock does not answer"):
        await engine.request(ASK)
    await engine.aclose()
