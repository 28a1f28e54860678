"""A platform in a thread of its own, for tests that run worker processes from blocking code.

It answers takes with the exact bytes that the test gives, and delays its answers by rules. For faults at wire level,
in the test's own event loop, use `raw_platform`."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Handed:
    """One answer to a take: its body, the pause before its first byte, and the pause in its middle."""

    body: bytes
    before_s: float = 0.0
    between_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Posted:
    """What a worker posted: `stream` or `done`, for which job, the body, and when it came."""

    kind: str
    job_id: str
    body: bytes
    at: float


@dataclass
class Behaviour:
    """How the platform treats workers; a test may change it at any time."""

    longest_line: int = 1_000_000  # a longer request line is answered 414
    delay_s: Callable[[Posted], float] = field(default=lambda posted: 0.0)  # before a post is answered; inf is never
    on_take: Callable[[], None] = field(default=lambda: None)  # called when an answer to a take is decided


class ScriptedPlatform:
    """`url` is the endpoint as workers see it. Its methods block and may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.url = ""
        self.behaviour = Behaviour()
        self.posts: list[Posted] = []
        self.pings: list[tuple[str, int]] = []  # the request's target, the status it got
        self._loop = loop
        self._handed: deque[Handed] = deque()
        self._more = asyncio.Condition()
        self._news = threading.Condition()
        self._polls = 0

    def hand_out(self, *answers: bytes | Handed) -> None:
        """Answer the next takes with these."""
        found = [answer if isinstance(answer, Handed) else Handed(answer) for answer in answers]
        asyncio.run_coroutine_threadsafe(self._add(found), self._loop).result(WAIT_S)

    def until(self, true: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
        """Wait until `true()` holds, checked after every request; returns whether it does."""
        with self._news:
            return self._news.wait_for(true, timeout_s)

    @property
    def waiting(self) -> int:
        """Answers that no take has returned yet."""
        return len(self._handed)

    @property
    def polls(self) -> int:
        """Takes that are waiting at this moment."""
        return self._polls

    def of(self, job_id: str, kind: str) -> list[bytes]:
        """The bodies posted for one job."""
        with self._news:
            return [posted.body for posted in self.posts if (posted.job_id, posted.kind) == (job_id, kind)]

    def done(self) -> set[str]:
        """Ids of the jobs with a final result."""
        with self._news:
            return {posted.job_id for posted in self.posts if posted.kind == "done"}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read one request and answer it; whether another may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ", 2)[1].decode()
        lengths = (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
        body = await reader.readexactly(next(lengths, 0))
        return await self._answer(target, body, reader, writer)

    async def _answer(
        self, target: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        parts = target.partition("?")[0].split("/")
        verb = parts[3]
        too_long = len(target) > self.behaviour.longest_line
        if verb.startswith("job-take"):
            return await self._take(reader, writer)
        if verb == "job-stop":
            await reader.read(1)  # open until the worker closes
            return False
        if verb == "ping":
            self._note(lambda: self.pings.append((target, 414 if too_long else 200)))
        else:
            posted = Posted(verb.removeprefix("job-"), unquote(parts[5]), body, time.monotonic())
            self._note(lambda: self.posts.append(posted))
            await asyncio.sleep(min(1e6, self.behaviour.delay_s(posted)))
        _write(writer, 414 if too_long else 200, b"{}")
        return not too_long

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        left = asyncio.create_task(reader.read(1))
        waiting = asyncio.create_task(self._next())
        self._note(lambda: self._count(1))
        try:
            await asyncio.wait([left, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return False
            handed = waiting.result()
            self.behaviour.on_take()
            await asyncio.sleep(handed.before_s)
            response = _response(200, handed.body)
            cut = len(response) - len(handed.body) // 2 if handed.between_s else len(response)
            writer.write(response[:cut])
            await writer.drain()
            await asyncio.sleep(handed.between_s)
            writer.write(response[cut:])
            await writer.drain()
            return not left.done()
        finally:
            self._note(lambda: self._count(-1))
            for task in (left, waiting):
                task.cancel()
            await asyncio.wait([left, waiting])

    async def _next(self) -> Handed:
        async with self._more:
            await self._more.wait_for(lambda: bool(self._handed))
            return self._handed.popleft()

    async def _add(self, answers: list[Handed]) -> None:
        async with self._more:
            self._handed.extend(answers)
            self._more.notify_all()

    def _count(self, change: int) -> None:
        self._polls += change

    def _note(self, change: Callable[[], None]) -> None:
        with self._news:
            change()
            self._news.notify_all()


def _response(status: int, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
    )


def _write(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(_response(status, body))


NEVER = math.inf


@contextmanager
def scripted_platform() -> Iterator[ScriptedPlatform]:
    """A platform in a thread of its own for the length of the block."""
    loop = asyncio.new_event_loop()
    platform, ready, over = ScriptedPlatform(loop), threading.Event(), asyncio.Event()

    async def serve() -> None:
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(platform.serve(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=4 * 1024 * 1024)
        platform.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/ep"
        ready.set()
        await over.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        if connections:
            await asyncio.wait(list(connections))
        await asyncio.sleep(0.05)  # the sockets of closed transports close in the loop's next turns

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield platform
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
