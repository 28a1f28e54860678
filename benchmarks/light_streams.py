"""A generator for `worker_vllm.bench` that costs little: raw connections, so that the client leaves the cores alone.

It shares them with what it measures. Requests, samples and figures are those of the bench package.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from worker_vllm.bench.load_plan import LoadPlan, PlannedRequest, planned_requests
from worker_vllm.bench.openai_requests import StreamReader, body, failure_text
from worker_vllm.bench.samples import Sample
from worker_vllm.bench.targets import BenchTarget


class StreamConnection(asyncio.Protocol):
    """Asks for one stream on a connection of its own; `over` is done when the answer is complete."""

    def __init__(self, request: bytes) -> None:
        self.sample = Sample(time.monotonic())
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._reader = StreamReader(self.sample, time.monotonic)
        self._parser = httptools.HttpResponseParser(self)
        self._arrived: list[bytes] = []
        self._complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = transport
        self.sample.asked_at = time.monotonic()
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Read what has arrived as one piece."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"no HTTP: {error}")
            return
        arrived = b"".join(self._arrived)
        self._arrived.clear()
        status = self._parser.get_status_code()
        if status != 200 and self._complete:
            self._end(f"HTTP {status}: {failure_text(arrived.decode(errors='replace'))}")
            return
        if arrived:
            self._reader.feed(arrived)
        if self._complete:
            self._reader.close()
            self._end()

    def on_body(self, data: bytes) -> None:
        """A part of the answer's body."""
        self._arrived.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self._complete = True

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends before its answer is a failure."""
        self._end(f"cut off: {error or 'the server closed the connection'}")

    def _end(self, failure: str | None = None) -> None:
        if self.over.done():
            return
        self.sample.failure = failure or self.sample.failure
        self._transport.close()
        self.over.set_result(None)


class LightGenerator:
    """Sends a closed loop of streams, and keeps the samples of each round for what the figures of bench leave out."""

    def __init__(self, timeout_s: float = 300.0) -> None:
        self._timeout_s = timeout_s
        self.samples: dict[tuple[str, int], list[Sample]] = {}

    async def send(self, target: BenchTarget, plan: LoadPlan, round_number: int) -> list[Sample]:
        """The samples of the round's requests."""
        requests = planned_requests(plan, round_number)
        pending, found = iter(requests), list[Sample]()
        async with asyncio.timeout(self._timeout_s), asyncio.TaskGroup() as clients:
            for _ in range(min(plan.concurrency, len(requests))):
                clients.create_task(_client(_Work(target, plan, pending, found)))
        self.samples[target.name, round_number] = found
        return found


@dataclass(frozen=True, slots=True)
class _Work:
    """What the clients of a round share."""

    target: BenchTarget
    plan: LoadPlan
    pending: Iterator[PlannedRequest]
    found: list[Sample]


async def _client(work: _Work) -> None:
    """One stream after the other until none is left."""
    for request in work.pending:
        work.found.append(await _stream(work.target, request_bytes(work.target, work.plan, request)))


async def _stream(target: BenchTarget, request: bytes) -> Sample:
    loop = asyncio.get_running_loop()

    def connection() -> StreamConnection:
        return StreamConnection(request)

    address = urlsplit(target.url)
    try:
        if target.socket:
            _, asked = await loop.create_unix_connection(connection, target.socket)
        else:
            _, asked = await loop.create_connection(connection, address.hostname or "127.0.0.1", address.port or 80)
    except OSError as error:
        return Sample(time.monotonic(), failure=failure_text(str(error)))
    await asked.over
    return asked.sample


def request_bytes(target: BenchTarget, plan: LoadPlan, request: PlannedRequest) -> bytes:
    """The request as it is sent: the body of the bench package."""
    address = urlsplit(target.url)
    content = json.dumps(body(target, plan, request)).encode()
    path = f"{address.path}/{'chat/completions' if plan.chat else 'completions'}"
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
