"""HTTP/1.1 as clients really send it: in pieces, several at once, with and without lengths."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from worker_vllm.errors import RequestError
from worker_vllm.gateway.server.bounded_protocol import LARGEST_HEAD
from worker_vllm.gateway.server.request import ClientDisconnected, GatewayRequest, ReceiveLimits
from worker_vllm.gateway.server.response import GatewayResponse, error_answer
from worker_vllm.gateway.server.server import HttpServer, listen, server_config

OK = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-type: application/json; charset=utf-8\r\n\r\n%b"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
INVALID = b"Invalid HTTP request received."
REFUSED = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b"
)


class Served:
    """An application that answers with the request's path and body."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.held = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """/held waits for the test, /stream streams, /boom breaks; anything else is echoed."""
        request = GatewayRequest(scope, receive)
        with contextlib.suppress(ClientDisconnected):
            await request.read_body(20)
            await self._answer(request, scope, receive, send)

    async def _answer(self, request: GatewayRequest, scope: Scope, receive: Receive, send: Send) -> None:
        match request.path:
            case "/held":
                request.on_disconnect(self.gone.set)
                self.held.set()
                await self.release.wait()
                await GatewayResponse(200, b"held")(scope, receive, send)
            case "/stream":
                headers = [(b"content-type", b"text/event-stream")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": b"one", "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            case "/boom":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                raise RuntimeError("boom")
            case _:
                await _echo(request)(scope, receive, send)


def _echo(request: GatewayRequest) -> GatewayResponse:
    try:
        return GatewayResponse(200, b"%b %b" % (request.path.encode(), request.body(10)))
    except RequestError as error:
        return error_answer(error, headers=request.extra_headers)


Session = tuple[Served, asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def served() -> AsyncIterator[Session]:
    """The server, and a raw connection to it."""
    it = Served()
    app = Starlette(routes=[Route("/{path:path}", it)])
    server = HttpServer(server_config(app, ReceiveLimits(20, 5, 5)))
    listener = listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    yield it, reader, writer
    writer.close()
    server.stop()
    await serving


def ok(text: bytes) -> bytes:
    return OK % (len(text), text)


CLEAN: list[tuple[str, bytes, bytes]] = [
    ("a plain GET", b"GET /a%20b?x=1 HTTP/1.1\r\n\r\n", ok(b"/a b ")),
    ("a body with its length", b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", ok(b"/a abc")),
    (
        "a body in chunks",
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ok(b"/a abc"),
    ),
    ("two at once", b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n", ok(b"/a ") + ok(b"/b ")),
    (
        "a body that waits to be asked for",
        b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"/a x"),
    ),
    (
        "an offer of HTTP/2",
        b"GET /a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        ok(b"/a "),
    ),
    (
        "an offer of HTTP/2 with a body, and the next request",
        b"POST /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx"
        b"GET /b HTTP/1.1\r\n\r\n",
        ok(b"/a x") + ok(b"/b "),
    ),
    ("a HEAD", b"HEAD /a HTTP/1.1\r\n\r\n", OK % (3, b"")),
    (
        "a stream",
        b"GET /stream HTTP/1.1\r\n\r\n",
        CHUNKED_HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
    ),
]


@pytest.mark.parametrize(("sent", "answered"), [row[1:] for row in CLEAN], ids=[row[0] for row in CLEAN])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_requests_are_understood_however_they_arrive(
    served: Session, sent: bytes, answered: bytes, size: int
) -> None:
    """Byte by byte or all at once, the answer is the same, and the connection stays open for the next."""
    _, reader, writer = served
    for start in range(0, len(sent), size):
        writer.write(sent[start : start + size])
        await writer.drain()
        await asyncio.sleep(0)
    assert await reader.readexactly(len(answered)) == answered
    writer.write(b"GET /again HTTP/1.1\r\n\r\n")
    assert await reader.readexactly(len(ok(b"/again "))) == ok(b"/again ")


def closing(text: bytes) -> bytes:
    return ok(text).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


def refused(reason: bytes) -> bytes:
    return REFUSED % (len(reason), reason)


CLOSING: list[tuple[str, bytes, bytes]] = [
    ("a request to close", b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", closing(b"/a ")),
    ("HTTP/1.0", b"GET /a HTTP/1.0\r\n\r\n", closing(b"/a ")),
    (
        "an offer of HTTP/2 with a body of no length",
        b"POST /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        refused(b"a body without a length cannot follow an offer to upgrade"),
    ),
    ("no HTTP", b"hello\r\n\r\n", refused(INVALID)),
    ("an error of ours", b"GET /boom HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
    ("an endless head", b"GET /a HTTP/1.1\r\nX: " + b"x" * LARGEST_HEAD, b""),
]


@pytest.mark.parametrize(("sent", "answered"), [row[1:] for row in CLOSING], ids=[row[0] for row in CLOSING])
async def test_what_ends_a_connection(served: Session, sent: bytes, answered: bytes) -> None:
    """The answer, if there is one, comes whole before the end."""
    _, reader, writer = served
    writer.write(sent)
    try:
        assert await reader.read() == answered
    except ConnectionResetError:
        assert answered == b""


@pytest.mark.parametrize("size", [11, 21, 150])
async def test_too_large_a_body_is_read_and_refused(served: Session, size: int) -> None:
    """The client gets its answer, and the connection goes on."""
    _, reader, writer = served
    writer.write(b"POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert (await reader.readuntil(b"}")).startswith(b'{"error":"the body is larger than 10 bytes')
    writer.write(b"GET /a HTTP/1.1\r\n\r\n")
    assert await reader.readexactly(len(ok(b"/a "))) == ok(b"/a ")


async def test_an_endless_body_is_refused_and_its_connection_closed(served: Session) -> None:
    """Ten times the largest body is read; then the client is told, whether it listens or not."""
    _, reader, writer = served
    writer.write(b"POST /a HTTP/1.1\r\nContent-Length: 999\r\n\r\n" + b"x" * 201)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nconnection: close\r\n" in answer


async def test_answers_keep_the_order_of_the_requests(served: Session) -> None:
    """The second waits for the first, however quick it would be."""
    it, reader, writer = served
    writer.write(b"GET /held HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
    await writer.drain()
    it.release.set()
    expected = ok(b"held") + ok(b"/b ")
    assert await reader.readexactly(len(expected)) == expected


async def test_a_client_that_hangs_up_is_noticed(served: Session) -> None:
    """The handler of its request is notified at once."""
    it, _, writer = served
    writer.write(b"GET /held HTTP/1.1\r\n\r\n")
    await it.held.wait()
    writer.close()
    await it.gone.wait()
    it.release.set()
