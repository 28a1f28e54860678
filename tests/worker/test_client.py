"""The engine's client on a socket whose other side misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from worker_vllm.engine.base import EngineRequest
from worker_vllm.engine.client import HttpEngine
from worker_vllm.errors import EngineError, EngineUnavailable

ASK = EngineRequest("POST", "/v1/completions", b"{}", {"Content-Type": "application/json"})
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\n{}"
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
    async with scripted([[WHOLE, None], [WHOLE]]) as (server, engine):
        assert await body(engine) == b"{}"
        assert await body(engine) == b"{}"
    assert server.requests == [0, 0, 1]


async def test_an_engine_that_hangs_up_on_a_new_connection_is_asked_once() -> None:
    async with scripted([[None], [WHOLE]]) as (server, engine):
        with pytest.raises(EngineUnavailable):
            await body(engine)
    assert server.requests == [0]


async def test_an_engine_that_hangs_up_again_is_asked_twice() -> None:
    async with scripted([[WHOLE, None], [None], [WHOLE]]) as (server, engine):
        await body(engine)
        with pytest.raises(EngineUnavailable):
            await body(engine)
    assert server.requests == [0, 0, 1]


async def test_an_answer_cut_short_is_an_error() -> None:
    """Read whole or piece by piece, after what did arrive."""
    async with scripted([[CUT_SHORT], [CUT_SHORT]]) as (_, engine):
        with pytest.raises(EngineError, match="broke off"):
            await body(engine)
        response = await engine.request(ASK)
        pieces = aiter(response.chunks())
        assert await anext(pieces) == b"{}"
        with pytest.raises(EngineError, match="broke off"):
            await anext(pieces)
        response.close()


async def test_bodies_are_never_decoded() -> None:
    async with scripted([[ENCODED]]) as (_, engine):
        assert await body(engine) == b"\x1f\x8b"


async def test_where_nobody_listens_the_engine_is_unavailable() -> None:
    engine = HttpEngine("unix:/nowhere/engine.sock")
    with pytest.raises(EngineUnavailable, match=r"unix:/nowhere/engine\.sock does not answer"):
        await engine.request(ASK)
    await engine.aclose()
