"""HTTP to the platform: every way an answer can come or fail to come, and whether the request can have arrived."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from worker_vllm.serverless.http.client import HttpPlatform, KeepAliveLimits
from worker_vllm.serverless.http.connection import NoAnswer, NotSent

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


class ScriptedServer:
    """Answers each request on each connection with the next piece of script; None cuts the connection."""

    def __init__(self) -> None:
        self.url = ""
        self.script: list[list[bytes] | None] = []
        self.requests: list[bytes] = []
        self.connections = self.open = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                answer = self.script.pop(0) if self.script else [OK]
                if answer is None:
                    return
                for part in answer:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if b"close" in answer[0].lower() or not answer[-1]:
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            self.open -= 1
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    listener = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v2/ep/x?"
    yield scripted
    listener.close()
    for writer in scripted.writers:
        writer.close()
    await listener.wait_closed()


@pytest.fixture
async def http() -> AsyncIterator[HttpPlatform]:
    platform = HttpPlatform("key\r\nEvil: 1")
    yield platform
    platform.close()
    await asyncio.sleep(0)


async def test_a_request_carries_the_key_as_it_is(server: ScriptedServer, http: HttpPlatform) -> None:
    """No `Bearer`, no room for smuggled headers, JSON both ways."""
    answer = await http.post(server.url + "&a=b", (b'{"output": 1}',), 5)
    assert (answer.status, answer.body, answer.header("content-type")) == (200, b"{}", "application/json")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v2/ep/x?&a=b HTTP/1.1"
    assert "Authorization: keyEvil: 1" in lines
    assert body == b'{"output": 1}'


async def test_the_address_of_a_get_is_not_kept(server: ScriptedServer, http: HttpPlatform) -> None:
    """A ping's address lists all jobs, so that each is another one, and long."""
    url = f"{server.url}&job_id={'x' * 20_000}"
    before = sys.getrefcount(url)
    await http.get(url, 5)
    assert sys.getrefcount(url) == before


@pytest.mark.parametrize("size", [10, 100_000])
async def test_the_parts_of_a_body_arrive_as_one(server: ScriptedServer, http: HttpPlatform, size: int) -> None:
    """Joined where they are small, else one after the other: a large result is in memory once."""
    await http.post(server.url, (b'{"output":["', b"x" * size, b'"]', b"}"), 5)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert f"Content-Length: {size + 15}".encode() in head.split(b"\r\n")
    assert body == b'{"output":["' + b"x" * size + b'"]}'


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([OK[:20], OK[20:60], OK[60:]], (200, b"{}")),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b"")),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], (200, b"{}")),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nab", b"c\r\n1;x=y\r\nd\r\n", b"0\r\n\r\n"],
         (200, b"abcd")),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"], (200, b"all of it")),
        ([b"HTTP/1.1 429 Too Many\r\nRETRY-AFTER: 3\r\ncontent-length: 0\r\n\r\n"], (429, b"")),
    ],
    ids=["in parts", "no body", "interim", "chunked", "until closed", "empty"],
)  # fmt: skip
async def test_answers_in_every_framing(
    server: ScriptedServer, http: HttpPlatform, parts: list[bytes], expected: tuple[int, bytes]
) -> None:
    """Complete, however it is split; and the next request works."""
    server.script.append(parts)
    answer = await http.get(server.url, 5)
    assert (answer.status, answer.body) == expected
    assert (await http.get(server.url, 5)).status == 200


async def test_connections_are_kept_and_not_shared(server: ScriptedServer, http: HttpPlatform) -> None:
    """One after the other on one connection; at once on several."""
    for _ in range(3):
        await http.post(server.url, (b"{}",), 5)
    assert server.connections == 1
    await asyncio.gather(*(http.post(server.url, (b"{}",), 5) for _ in range(3)))
    assert server.connections == 3


async def test_a_refused_connection_is_provably_not_accepted(server: ScriptedServer, http: HttpPlatform) -> None:
    """So the same piece may be sent again."""
    with pytest.raises(NotSent):
        await http.post("http://127.0.0.1:9/x?", (b"{}",), 5)


@pytest.mark.parametrize("cut", [None, [OK[:30], b""], [b"nonsense\r\n\r\n"]], ids=["none", "half", "nonsense"])
async def test_an_incomplete_answer_leaves_the_outcome_unknown(
    server: ScriptedServer, http: HttpPlatform, cut: list[bytes] | None
) -> None:
    """A POST is sent once and once only."""
    server.script.append(cut)
    with pytest.raises(NoAnswer):
        await http.post(server.url, (b"{}",), 5)
    assert len(server.requests) == 1


async def test_silence_ends_with_the_time_limit(server: ScriptedServer, http: HttpPlatform) -> None:
    """And the connection is not used again."""
    server.script.append([b"HTTP/1.1 200 OK\r\n"])
    with pytest.raises(NoAnswer, match=r"no answer within 0.05 s"):
        await http.get(server.url, 0.05)
    assert (await http.get(server.url, 5)).status == 200
    assert server.connections == 2


async def test_a_poll_on_a_dead_connection_is_tried_on_a_new_one(server: ScriptedServer, http: HttpPlatform) -> None:
    """What a thawed process finds: its kept connections were cut meanwhile."""
    await http.get(server.url, 5)
    server.script.append(None)
    assert (await http.get(server.url, 5)).status == 200
    assert server.connections == 2


async def test_a_connection_closed_while_idle_is_not_used(server: ScriptedServer) -> None:
    """The end waits unread in the kernel, as after a freeze: a POST notices before it writes."""
    http = HttpPlatform("key", KeepAliveLimits(check_after_s=0.0))
    await http.post(server.url, (b"{}",), 5)
    server.writers[0].get_extra_info("socket").shutdown(socket.SHUT_WR)
    assert (await http.post(server.url, (b"{}",), 5)).status == 200
    assert server.connections == 2
    http.close()


async def test_idle_connections_of_a_burst_are_closed(server: ScriptedServer) -> None:
    """Connections that were idle for a while are closed by the next request."""
    http = HttpPlatform("key", KeepAliveLimits(max_idle_s=0.05))
    await asyncio.gather(*(http.get(server.url, 5) for _ in range(3)))
    await asyncio.sleep(0.1)  # the rest is what is tested
    await http.get(server.url, 5)
    while server.open > 1:
        await asyncio.sleep(0)
    http.close()


async def test_a_cancelled_request_closes_its_connection(server: ScriptedServer, http: HttpPlatform) -> None:
    """The platform sees it at once."""
    server.script.append([b"HTTP/1.1 200 OK\r\n"])
    asking = asyncio.create_task(http.get(server.url, 5))
    while not server.requests:
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert (await http.get(server.url, 5)).status == 200
    assert server.connections == 2


class LeavingServer:
    """Delays a GET until its client closes its side, then sends `answer` if there is one; the first it answers."""

    def __init__(self, answer: bytes) -> None:
        self.requests = 0
        self.waiting, self.closed = asyncio.Event(), asyncio.Event()
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            self.requests += 1
            if self.requests == 1:
                writer.write(OK)
                continue
            self.waiting.set()
            await reader.read()
            writer.write(self._answer)
            break
        writer.close()
        self.closed.set()


@pytest.mark.parametrize("answered", [False, True])
async def test_abandoning_a_poll_loses_no_answer_and_sends_nothing_again(answered: bool) -> None:
    """The platform sees at once that the client has gone; what it has sent still arrives."""
    server = LeavingServer(OK if answered else b"")
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v2/ep/job-take/w?a=1"
    platform = HttpPlatform("key")
    await platform.get(url, 5)
    asking = asyncio.create_task(platform.get(url, 5))
    await server.waiting.wait()
    assert platform.abandon(url) is False
    if answered:
        assert (await asking).body == b"{}"
    else:
        with pytest.raises(NoAnswer):
            await asking
    assert server.requests == 2
    await server.closed.wait()
    listener.close()
    platform.close()
