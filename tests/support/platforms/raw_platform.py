"""A platform whose answers are scripted byte by byte, in the event loop of the test.

For tests of HTTP and of delivery at wire level: split, damaged, missing and redirected answers, resets, TLS. Tests
that wait for worker processes from blocking code use `scripted_platform`, which runs in a thread of its own.

`RawPlatform` listens on loopback and reads requests by hand. Each route (`job-take`, `job-stop`, `job-stream`,
`job-done`, `ping`) answers with the next script that the test gave it, else by `always` or `answers`, else as a
regular platform would: takes return `jobs` and wait while there are none, stops wait, everything else gets 200.
A script is a sequence of parts:

- bytes go out as a packet of their own (each is flushed before the next is written),
- a number is a pause in seconds,
- an `asyncio.Event` is waited for,
- `RESET` ends the connection with a TCP reset, `CLOSE` in order, `MUTE` sends nothing until the peer closes.

A part may be a function of the request that gives one of these. Builders: `answer`, `redirect`, `gzipped`,
`bytewise`, `chunked`.
"""

from __future__ import annotations

import asyncio
import enum
import gzip
import json
import socket
import ssl
import struct
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class End(enum.Enum):
    """How a script may end the exchange without a complete answer."""

    RESET = enum.auto()
    CLOSE = enum.auto()
    MUTE = enum.auto()


RESET, CLOSE, MUTE = End.RESET, End.CLOSE, End.MUTE


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `raw` is every byte, `connection` counts the connections from 1."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    raw: bytes
    connection: int

    @property
    def route(self) -> str:
        """`job-take` for /v2/ep/job-take-batch/worker, and so on; the first segment elsewhere."""
        parts = urlsplit(self.target).path.strip("/").split("/")
        return parts[2].removesuffix("-batch") if parts[0] == "v2" and len(parts) > 2 else parts[0]

    @property
    def job_id(self) -> str:
        """The job that a piece or a result belongs to."""
        parts = urlsplit(self.target).path.split("/")
        return unquote(parts[5]) if len(parts) > 5 else ""

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name in the query."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Step = bytes | float | asyncio.Event | End
Part = Step | Callable[[Request], Step]
Script = Sequence[Part]


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    """A complete answer with its length; `headers` are lines without their end."""
    lines = (
        f"HTTP/1.1 {status} Scripted",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    )
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def redirect(status: int, location: str) -> bytes:
    """An answer that points elsewhere."""
    return answer(status, b"", f"Location: {location}")


def gzipped(body: bytes) -> bytes:
    """An answer that is compressed although identity was requested."""
    return answer(200, gzip.compress(body), "Content-Encoding: gzip")


def bytewise(raw: bytes) -> list[Part]:
    """The same bytes, each in a packet of its own."""
    return [raw[at : at + 1] for at in range(len(raw))]


def chunked(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    """An answer in chunks of `size` bytes; `trailers` are whole lines with their ends."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n" + trailers + b"\r\n"


class RawPlatform:
    """See the module. `requests` has every complete request; a request line over `longest_line` gets 414."""

    def __init__(self, longest_line: int = 1_000_000) -> None:
        self.root = ""
        self.jobs: deque[dict[str, Any]] = deque()
        self.requests: list[Request] = []
        self.connections = 0
        self.scripts: defaultdict[str, deque[Script]] = defaultdict(deque)
        self.always: dict[str, Script] = {}
        self.answers: Callable[[Request], Script | None] = lambda request: None
        self._longest_line = longest_line
        self._changed = asyncio.Condition()
        self._serving: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """The endpoint as workers see it."""
        return f"{self.root}/v2/ep"

    def script(self, route: str, *scripts: Script) -> None:
        """The next answers of a route, one script each."""
        self.scripts[route].extend(scripts)

    async def give(self, *jobs: dict[str, Any]) -> None:
        """Queue jobs for the next takes."""
        async with self._changed:
            self.jobs.extend(jobs)
            self._changed.notify_all()

    async def until(self, true: Callable[[], bool]) -> None:
        """Return once `true()` holds; checked after every complete request."""
        async with self._changed:
            await self._changed.wait_for(true)

    def of(self, route: str, job_id: str | None = None) -> list[Request]:
        """The requests of a route so far, of one job or of all."""
        return [found for found in self.requests if found.route == route and job_id in (None, found.job_id)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; it ends with the peer, a script or `end`."""
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer, self.connections))
        self._serving[task] = writer
        await asyncio.wait([task])
        del self._serving[task]
        writer.close()
        left = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)  # the peer went away
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, left):
            raise error

    async def end(self) -> None:
        """End every connection."""
        while self._serving:
            for task, writer in self._serving.items():
                task.cancel()
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.index(b"\r\n") > self._longest_line:
                writer.write(answer(414, b"", "Connection: close"))
                return
            request = await _read(head, reader, connection)
            async with self._changed:
                self.requests.append(request)
                self._changed.notify_all()
            if not await self._answer(request, reader, writer):
                return

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        waiting = self.scripts[request.route]
        script = waiting.popleft() if waiting else self.always.get(request.route) or self.answers(request)
        for part in script if script is not None else await self._regular_answer(request, reader):
            step = part(request) if callable(part) else part
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
                await asyncio.sleep(0)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, End):
                await _end(step, reader, writer)
                return False
            else:
                await asyncio.sleep(step)
        return True

    async def _regular_answer(self, request: Request, reader: asyncio.StreamReader) -> Script:
        """The answer of a regular platform; a peer that closes while it waits gets none."""
        if request.route not in ("job-take", "job-stop"):
            return [answer()]
        left = asyncio.ensure_future(reader.read(1))
        most = int(request.query.get("batch_size", 1))
        taken = asyncio.ensure_future(self._take(most if request.route == "job-take" else 0))
        try:
            await asyncio.wait([left, taken], return_when=asyncio.FIRST_COMPLETED)
            if not taken.done():
                return [CLOSE]
            jobs = taken.result()
            return [answer(body=json.dumps(jobs if "batch_size" in request.query else jobs[0]).encode())]
        finally:
            for task in (left, taken):
                task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await asyncio.wait([left, taken])

    async def _take(self, most: int) -> list[dict[str, Any]]:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(most and self.jobs))
            return [self.jobs.popleft() for _ in range(min(most, len(self.jobs)))]


async def _read(head: bytes, reader: asyncio.StreamReader, connection: int) -> Request:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")  # a space in the target breaks the request line, as on any server
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, head + body, connection)


async def _end(how: End, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if how is MUTE:
        await reader.read()
    elif how is RESET:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@asynccontextmanager
async def raw_platform(
    longest_line: int = 1_000_000, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawPlatform]:
    """A listening `RawPlatform` for the length of the block."""
    platform = RawPlatform(longest_line)
    listener = await asyncio.start_server(platform.serve, "127.0.0.1", 0, limit=2**26, ssl=tls, backlog=1024)
    platform.root = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield platform
    finally:
        listener.close()
        for _ in range(5):  # what was accepted last gets its task
            await asyncio.sleep(0)
        await platform.end()
        await asyncio.sleep(0)
        await listener.wait_closed()


def worker_variables(platform: RawPlatform, worker_id: str = "w1", **more: str) -> Mapping[str, str]:
    """The environment of a worker process that works for this platform."""
    addresses: Iterable[tuple[str, str]] = (
        ("GET_JOB", f"job-take/{worker_id}"),
        ("POST_OUTPUT", f"job-done/{worker_id}/$ID"),
        ("POST_STREAM", f"job-stream/{worker_id}/$ID"),
        ("PING", f"ping/{worker_id}"),
    )
    hooks = {f"RUNPOD_WEBHOOK_{name}": f"{platform.url}/{path}?gpu=none" for name, path in addresses}
    return {"RUNPOD_POD_ID": worker_id, "RUNPOD_AI_API_KEY": "key", "RUNPOD_PING_INTERVAL": "1000", **hooks, **more}
