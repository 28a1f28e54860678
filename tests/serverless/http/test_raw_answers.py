"""What a platform may do at wire level, and what must come of it: redirects, compression, odd framing, no answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
import zlib
from collections.abc import AsyncIterator

import pytest

from tests.support.platforms.raw_platform import (
    CLOSE,
    MUTE,
    RESET,
    Part,
    RawPlatform,
    answer,
    bytewise,
    chunked,
    gzipped,
    raw_platform,
    redirect,
)
from worker_vllm.serverless.http import content_encoding
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.intake.long_poll import poll

TAKE = "/job-take/w1?gpu=none"
DONE = "/job-done/w1/a?gpu=none"


@pytest.fixture
async def raw() -> AsyncIterator[RawPlatform]:
    async with raw_platform() as platform:
        yield platform


@pytest.fixture
async def http() -> AsyncIterator[HttpPlatform]:
    platform = HttpPlatform("key")
    yield platform
    platform.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirected_post_is_sent_complete(raw: RawPlatform, http: HttpPlatform, status: int) -> None:
    """Method, body and key, since it is the same origin."""
    raw.script("job-done", [redirect(status, f"{raw.url}/job-done/w1/elsewhere?x=1")])
    assert (await http.post(raw.url + DONE, (b'{"output":1}',), 5)).status == 200
    first, second = raw.requests
    assert (second.method, second.json, second.job_id, second.query) == (
        "POST",
        {"output": 1},
        "elsewhere",
        {"x": "1"},
    )
    assert second.headers["authorization"] == first.headers["authorization"] == "key"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirected_poll_is_followed(raw: RawPlatform, http: HttpPlatform, status: int) -> None:
    """Also by a relative address."""
    raw.script("job-take", [redirect(status, "/v2/ep/ping/w1")])
    assert (await http.get(raw.url + TAKE, 5)).status == 200
    assert [request.method for request in raw.requests] == ["GET", "GET"]


async def test_another_host_does_not_see_the_key(raw: RawPlatform, http: HttpPlatform) -> None:
    """As the SDK's client: the body goes there, the key does not."""
    async with raw_platform() as other:
        raw.script("job-done", [redirect(307, other.url + DONE)])
        assert (await http.post(raw.url + DONE, (b'{"output":1}',), 5)).status == 200
        assert "authorization" not in other.requests[0].headers
        assert other.requests[0].json == {"output": 1}


@pytest.mark.parametrize("location", ["http://[::1/x", "ftp://host/x", "http://host:port/x", None])
async def test_a_redirect_to_nowhere_is_an_answer(raw: RawPlatform, http: HttpPlatform, location: str | None) -> None:
    """The status means that the request was not processed here; 303 and 304 of a POST too."""
    raw.script("job-done", [redirect(302, location) if location else answer(302, b"")])
    assert (await http.post(raw.url + DONE, (b"{}",), 5)).status == 302
    assert len(raw.requests) == 1


async def test_redirects_end(raw: RawPlatform, http: HttpPlatform) -> None:
    """Ten, as with the SDK's client."""
    raw.always["job-done"] = [redirect(308, raw.url + DONE)]
    assert (await http.post(raw.url + DONE, (b"{}",), 5)).status == 308
    assert len(raw.requests) == 11


JOBS = json.dumps([{"id": str(n), "input": {"text": "x" * 100}} for n in range(10)]).encode()
RAW_DEFLATE = zlib.compressobj(wbits=-15)
CODED = {
    "gzip": ("gzip", gzip.compress(JOBS)),
    "members": ("x-gzip", gzip.compress(JOBS[:99]) + gzip.compress(JOBS[99:])),
    "deflate": ("deflate", zlib.compress(JOBS)),
    "bare deflate": ("Deflate", RAW_DEFLATE.compress(JOBS) + RAW_DEFLATE.flush()),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(JOBS))),
    "identity": ("identity", JOBS),
}


@pytest.mark.parametrize(("coding_name", "body"), CODED.values(), ids=CODED)
async def test_a_compressed_take_is_read(raw: RawPlatform, http: HttpPlatform, coding_name: str, body: bytes) -> None:
    """Identity was asked for; what comes all the same is decoded."""
    raw.script("job-take", [answer(200, body, f"Content-Encoding: {coding_name}")])
    polled = await poll(http, raw.url + TAKE, "job-take")
    assert polled.body == JOBS
    assert raw.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("coding_name", "body", "reason"),
    [
        ("br", b"x", "content coding 'br'"),
        ("gzip", gzip.compress(JOBS)[:-9], "without its end"),
        ("gzip", b"nonsense", "damaged"),
        ("gzip", gzip.compress(bytes(10_001)), "of more than 10000 bytes"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_reported(coding_name: str, body: bytes, reason: str) -> None:
    """In bounds: a bomb is not unpacked."""
    with pytest.raises(ValueError, match=reason):
        content_encoding.plain_body(PlatformAnswer(200, body, f"\r\nContent-Encoding: {coding_name}"), limit=10_000)


TRAILERS = b"X-Checksum: 1\r\nX-More: 2\r\n"
HALVES = chunked(JOBS, 700, TRAILERS)
FRAMED: dict[str, list[Part]] = {
    "bytewise": bytewise(answer(200, JOBS)),
    "bytewise chunks": bytewise(chunked(JOBS, 1, TRAILERS)),
    "trailers in two packets": [
        HALVES[: -len(TRAILERS) - 4],
        0.01,
        HALVES[-len(TRAILERS) - 4 : -9],
        0.01,
        HALVES[-9:],
    ],
    "last chunk in two packets": [HALVES[: -len(TRAILERS) - 3], 0.01, HALVES[-len(TRAILERS) - 3 :]],
    "interim first": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", answer(200, JOBS)],
    "no reason phrase": [b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(JOBS), JOBS],
    "until closed": [b"HTTP/1.1 200 OK\r\n\r\n", JOBS, CLOSE],
    "old protocol": [b"HTTP/1.0 200 OK\r\n\r\n", JOBS, CLOSE],
}


@pytest.mark.parametrize("parts", FRAMED.values(), ids=FRAMED)
async def test_every_framing_arrives_whole(raw: RawPlatform, http: HttpPlatform, parts: list[Part]) -> None:
    """And the next exchange is a new one."""
    raw.script("job-take", parts)
    assert (await http.get(raw.url + TAKE, 5)).body == JOBS
    assert (await http.post(raw.url + DONE, (b"{}",), 5)).body == b"{}"


@pytest.mark.parametrize("size", [1, 1024], ids=["bytewise", "1 KiB"])
async def test_chunks_are_parsed_in_linear_time(raw: RawPlatform, http: HttpPlatform, size: int) -> None:
    """1.6 MB in chunks and packets of 1 KiB took 1.9 s, 1.2 MB in chunks of one byte 27 s."""
    response = chunked(b"x" * 1_600_000, 1024) if size > 1 else chunked(b"x" * 400_000, 1)
    raw.script("job-take", [response[at : at + 1024] for at in range(0, len(response), 1024)])
    before = time.process_time()
    assert set((await http.get(raw.url + TAKE, 30)).body) == {ord("x")}
    assert time.process_time() - before < 2.5


UNKNOWN: dict[str, list[Part]] = {
    "reset at once": [RESET],
    "closed at once": [CLOSE],
    "closed in the head": [answer()[:20], CLOSE],
    "reset in the body": [answer(200, JOBS)[:300], RESET],
    "closed in the body": [answer(200, JOBS)[:300], CLOSE],
    "closed in a chunk": [HALVES[:900], CLOSE],
    "closed before the last chunk": [HALVES[: -len(TRAILERS) - 5], CLOSE],
    "not HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", MUTE],
    "a length that is none": [b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}", MUTE],
    "a chunk that is none": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", MUTE],
    "another protocol": [b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", MUTE],
    "an endless head": [b"HTTP/1.1 200 OK\r\n", *[b"X-More: %s\r\n" % (b"x" * 9000)] * 9, MUTE],
    "an endless header": [b"HTTP/1.1 200 OK\r\nX-More: ", *[b"x" * 9000] * 9, MUTE],
}


@pytest.mark.parametrize("parts", UNKNOWN.values(), ids=UNKNOWN)
async def test_an_incomplete_answer_is_no_answer(raw: RawPlatform, http: HttpPlatform, parts: list[Part]) -> None:
    """The outcome is unknown, the error has a reason, and the POST was sent once."""
    raw.script("job-done", parts)
    with pytest.raises(NoAnswer, match=r"closed before a complete answer|not HTTP/1\.1: \w"):
        await http.post(raw.url + DONE, (b"{}",), 5)
    assert len(raw.requests) == 1
    assert (await http.post(raw.url + DONE, (b"{}",), 5)).status == 200


async def test_bytes_after_an_answer_are_discarded(raw: RawPlatform, http: HttpPlatform) -> None:
    """The connection is out of step and is not used again."""
    raw.script("job-done", [answer(200, b"{}") + answer(500, b"")])
    for _ in range(2):
        assert (await http.post(raw.url + DONE, (b"{}",), 5)).status == 200
    assert raw.connections == 2


async def test_an_unreadable_header_is_ignored(raw: RawPlatform, http: HttpPlatform) -> None:
    """Byte B2 is a digit to some and a number to none."""
    raw.script("job-done", [answer(429, b"", "Retry-After: \xb2")])
    assert (await http.post(raw.url + DONE, (b"{}",), 5)).header("retry-after") == "\xb2"


async def test_a_space_in_an_address_is_escaped(raw: RawPlatform, http: HttpPlatform) -> None:
    """So is what is not ASCII; what is escaped stays."""
    await http.get(f"{raw.url}/ping/w 1?gpu=NVIDIA H200+%20é\r\nX: y", 5)
    assert raw.requests[0].target == "/v2/ep/ping/w%201?gpu=NVIDIA%20H200+%20%C3%A9%0D%0AX:%20y"


@pytest.mark.parametrize(
    "url", ["http://[::1/x", "http://host:port/x", "http://a..b/x", "ftp://host/x", "", "http://"]
)
async def test_a_broken_address_is_refused_with_a_reason(http: HttpPlatform, url: str) -> None:
    """Nothing can have been sent; a name and password in it are not shown."""
    with pytest.raises(NotSent, match="broken address"):
        await http.post(url, (b"{}",), 5)
    with pytest.raises(NotSent) as refused:
        await http.post("http://user:hidden@host:port/x", (b"{}",), 5)
    assert "hidden" not in str(refused.value)


async def test_no_connection_has_a_reason(http: HttpPlatform) -> None:
    """Never an empty one."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(NotSent, match=rf"no connection to 127\.0\.0\.1:{port}: .*refused"):
        await http.post(f"http://127.0.0.1:{port}/x", (b"{}",), 5)


def test_a_gzipped_answer_is_what_it_says() -> None:
    """The stand-in's own builder."""
    head, _, body = gzipped(JOBS).partition(b"\r\n\r\n")
    assert (b"Content-Encoding: gzip" in head, gzip.decompress(body)) == (True, JOBS)
