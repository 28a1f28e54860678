"""What a client may send before it is served, over raw sockets: any server of the gateway must hold these."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.gateway.conftest import Open
from tests.support.http import Http
from worker_vllm.gateway.options import GatewayLimits, GatewayOptions, WaitTimeouts

MEGABYTE = 1_000_000
RUN = b"POST /v2/local/run HTTP/1.1\r\nHost: localhost\r\n"
HEALTH = b"GET /v2/local/health HTTP/1.1\r\nHost: localhost\r\n"
SHORT_WAITS = GatewayOptions(waits=WaitTimeouts(head_s=0.3, body_s=0.6, take_s=1.5))

pytestmark = pytest.mark.timeout(30)


@asynccontextmanager
async def connected(http: Http) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection to the gateway."""
    host, port = http.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything until the gateway closes; nothing where it cut the connection."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def resident() -> int:
    """Bytes of memory that this process, and with it the gateway, has at the moment."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


ENDLESS: list[tuple[str, bytes, bytes]] = [
    ("a head of one header", RUN + b"X: ", b"x" * 4096),
    ("a head of many", RUN, b"X: x\r\n" * 800),
    ("one trailer", RUN + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 4096),
    ("many trailers", RUN + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: x\r\n" * 800),
    ("a chunk's extension", RUN + b"Transfer-Encoding: chunked\r\n\r\n2;", b"x" * 4096),
]


@pytest.mark.parametrize(("start", "more"), [row[1:] for row in ENDLESS], ids=[row[0] for row in ENDLESS])
async def test_what_never_ends_is_ended(open_gateway: Open, start: bytes, more: bytes) -> None:
    """Long before ten megabytes; others are served meanwhile."""
    http = await open_gateway()
    async with connected(http) as (reader, writer):
        writer.write(start)
        sent = 0
        answered = asyncio.create_task(rest(reader))
        try:
            while not answered.done() and not writer.is_closing() and sent < 10 * MEGABYTE:
                writer.write(more)
                sent += len(more)
                await writer.drain()
        except ConnectionError:
            pass
        assert sent < 10 * MEGABYTE
        assert (await answered)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 431")
    assert (await http.get("/v2/local/health")).json["jobs"]["inQueue"] == 0


async def test_a_trailer_is_no_header(open_gateway: Open) -> None:
    """A key after the body would let its body be read before the key is checked."""
    http = await open_gateway(key="k3y")
    chunked = RUN + b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\nConnection: close\r\n\r\n"
    async with connected(http) as (reader, writer):
        writer.write(chunked + b'c\r\n{"input": 1}\r\n0\r\nAuthorization: k3y\r\n\r\n')
        assert (await rest(reader)).startswith(b"HTTP/1.1 401 ")


SLOW: list[tuple[str, bytes, bytes]] = [
    ("nothing at all", b"", b""),
    ("the head's first line", b"GET /v2/local/health HTTP/1.1\r\n", b"HTTP/1.1 408"),
    ("a head without its end", HEALTH, b"HTTP/1.1 408"),
    ("a second head", HEALTH + b"\r\n" + b"GET ", b"HTTP/1.1 200"),
    ("half a body", RUN + b'Content-Length: 99\r\n\r\n{"in', b"HTTP/1.1 408"),
]


@pytest.mark.parametrize(("sent", "answer"), [row[1:] for row in SLOW], ids=[row[0] for row in SLOW])
async def test_a_request_that_does_not_arrive_is_given_up(open_gateway: Open, sent: bytes, answer: bytes) -> None:
    """However slowly it drips: the time counts from its start, not from its last byte."""
    http = await open_gateway(SHORT_WAITS)
    async with connected(http) as (reader, writer):
        answered = asyncio.create_task(rest(reader))
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            while sent and not answered.done():
                await asyncio.sleep(0.05)
                if writer.is_closing():  # uvloop refuses to write then
                    break
                writer.write(b"x")
                await writer.drain()
        assert (await answered)[:12] == answer


async def test_who_waits_for_an_answer_or_between_two_requests_is_not_given_up(open_gateway: Open) -> None:
    """A held take lasts longer than a head may take, and so may the pause until the next request."""
    http = await open_gateway(SHORT_WAITS)
    async with connected(http) as (reader, writer):
        writer.write(b"GET /v2/local/job-take/w1?gpu=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
        await asyncio.sleep(1)
        writer.write(HEALTH + b"Connection: close\r\n\r\n")
        assert (await rest(reader)).startswith(b"HTTP/1.1 200 ")


WAITING: list[tuple[str, bytes]] = [
    ("a length", b"Content-Length: 19000000\r\n\r\n"),
    ("chunks", b"Transfer-Encoding: chunked\r\n\r\n"),
    ("a body that waits to be asked for", b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"),
]


@pytest.mark.parametrize("head", [row[1] for row in WAITING], ids=[row[0] for row in WAITING])
async def test_a_stranger_is_refused_before_the_body(open_gateway: Open, head: bytes) -> None:
    """By the head alone: the body was never sent here."""
    http = await open_gateway(key="k3y")
    async with connected(http) as (reader, writer):
        writer.write(RUN + head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")


async def test_a_strangers_bodies_take_no_memory(open_gateway: Open) -> None:
    """Twenty of 19 MB, none of them complete: what was sent is not kept."""
    http = await open_gateway(GatewayOptions(limits=GatewayLimits(run_bytes=20 * MEGABYTE)), key="k3y")
    before = resident()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            reader, writer = await stack.enter_async_context(connected(http))
            writer.write(RUN + b"Content-Length: 19000001\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(19):
                    if writer.is_closing():
                        break
                    writer.write(b"x" * MEGABYTE)
                    await writer.drain()
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        assert resident() - before < 100 * MEGABYTE


async def test_a_stranger_that_sends_its_whole_body_reads_the_refusal(open_gateway: Open) -> None:
    """Most clients look at the answer only then; what they send until then is discarded."""
    http = await open_gateway(key="k3y")
    for _ in range(5):
        async with Http(http.url) as stranger:
            answer = await stranger.post("/v2/local/run", b"x" * 9 * MEGABYTE)
        assert answer.status == 401


async def test_what_goes_along_with_a_job_counts(open_gateway: Open) -> None:
    """s3Config and the like lie in memory as the input does: the bound holds for all of it."""
    http = await open_gateway(GatewayOptions(limits=GatewayLimits(held_bytes=50_000)))
    body = {"input": 1, "s3Config": {"bucketName": "x" * 20_000}}
    statuses = [(await http.post("/v2/local/run", body)).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
