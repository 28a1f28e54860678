"""The listener over real sockets: whole responses, a shared socket, no refusal and no reset."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from worker_vllm.web import listener as module
from worker_vllm.web.health import WebResponse
from worker_vllm.web.listener import Listener
from worker_vllm.web.ports import bind

ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nGET /up"


def echo(method: str, target: str) -> WebResponse:
    """Method and target as the body."""
    return WebResponse(200, {}, f"{method} {target}".encode())


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[Listener, int]]:
    """A listener that does not accept yet, and its port."""
    listener = Listener(bind(0, "127.0.0.1"), echo)
    try:
        yield listener, listener.socket.getsockname()[1]
    finally:
        await listener.close()


async def ask(port: int, request: bytes = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n") -> bytes:
    """Every byte until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    found = await reader.read()
    writer.close()
    await writer.wait_closed()
    return found


async def test_a_connection_waits_until_the_listener_accepts() -> None:
    """The kernel queues it; nothing is refused before, between and after."""
    async with listening() as (listener, port):
        for _ in range(3):
            waiting = [asyncio.create_task(ask(port)) for _ in range(50)]
            done, _ = await asyncio.wait(waiting, timeout=0.05)
            assert not done
            listener.accept()
            assert await asyncio.gather(*waiting) == [ANSWER] * 50
            listener.pause()


async def test_another_server_on_the_same_socket_takes_over() -> None:
    """While one of the two accepts, the other gets nothing: by its own events, in both directions."""
    async with listening() as (listener, port):

        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"other")
            writer.close()

        for _ in range(3):
            listener.accept()
            assert await ask(port) == ANSWER
            listener.pause()
            server = await asyncio.start_server(
                other, sock=socket.socket(fileno=socket.dup(listener.socket.fileno()))
            )
            assert {await ask(port) for _ in range(20)} == {b"other"}
            server.close()
            await server.wait_closed()


async def test_an_accepted_connection_is_answered_after_a_pause() -> None:
    """It is not dropped with the hand-over."""
    async with listening() as (listener, port):
        listener.accept()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /up HTTP/1.1\r\n")
        assert await ask(port) == ANSWER  # so the first one is accepted too
        listener.pause()
        writer.write(b"\r\n")
        assert await reader.read() == ANSWER
        writer.close()
        await listener.wait_idle()


async def test_a_large_body_does_not_reset_the_response() -> None:
    """The response arrives although the body is not read: 503 for an upload, not a broken pipe."""
    async with listening() as (listener, port):
        listener.accept()
        body = b"x" * 2_000_000
        head = b"POST /up HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert await ask(port, head + body) == ANSWER.replace(b"GET", b"POST").replace(b": 7", b": 8")


@pytest.mark.parametrize(
    ("request_bytes", "first_line"),
    [
        (b"HEAD /up HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /up HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"\x16\x03\x01\x02\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /up\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"HTTP/1.1 400 Bad Request"),
        (b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK"),
    ],
    ids=["head", "http10", "tls", "http09", "too large", "pipelined"],
)
async def test_one_response_for_whatever_comes(request_bytes: bytes, first_line: bytes) -> None:
    """Then the connection is closed."""
    async with listening() as (listener, port):
        listener.accept()
        found = await ask(port, request_bytes)
        assert found.splitlines()[0] == first_line
        assert found.count(b"HTTP/1.1 ") == 1


async def test_a_silent_client_is_dropped_and_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is limited; while too many are open, further ones wait in the kernel's queue."""
    monkeypatch.setattr(module, "EXCHANGE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "CONNECTIONS", 3)
    async with listening() as (listener, port):
        listener.accept()
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        assert await ask(port) == ANSWER
        for reader, writer in silent:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        await listener.wait_idle()
