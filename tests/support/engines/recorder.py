"""A proxy between a worker and the gateway that records every request of the worker."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web

WORKER_ROUTES = ("job-take", "job-take-batch", "job-stop", "job-stream", "job-done", "ping")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request of a worker: when it came, from whom, the operation and its job, query, headers, body as JSON."""

    at: float
    worker_id: str
    operation: str
    job_id: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Recorder:
    """`url` is the endpoint as workers see it; `requests` grows with every request of a worker.

    `refuse` holds, by operation, the statuses that its next requests are answered with.
    """

    def __init__(self, upstream: str, loop: asyncio.AbstractEventLoop) -> None:
        self.url = ""
        self.loop = loop
        self.requests: list[RecordedRequest] = []
        self.refuse: dict[str, list[int]] = {}
        self._upstream = upstream
        self._transports: set[asyncio.BaseTransport] = set()

    def of(self, operation: str) -> list[RecordedRequest]:
        """Every request of one operation so far."""
        return [request for request in list(self.requests) if request.operation == operation]

    def cut(self) -> None:
        """Drop every connection, as a platform does that has removed a worker. Callable from any thread."""
        self.loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for transport in self._transports:
            transport.abort()  # type: ignore[attr-defined]
        self._transports.clear()

    def about(self, job_id: str) -> list[tuple[str, Any]]:
        """What workers posted for one job: (operation, body) in order."""
        return [(request.operation, request.body) for request in self.requests if request.job_id == job_id]

    async def relay(self, request: web.Request) -> web.StreamResponse:
        """Record one request and forward it."""
        parts = request.path.split("/")
        body = await request.read()
        if parts[3] in WORKER_ROUTES:
            job_id = unquote(parts[5]) if len(parts) > 5 else ""
            value = json.loads(body) if body else None
            at = time.monotonic()
            query, headers = dict(request.query), dict(request.headers)
            self.requests.append(RecordedRequest(at, parts[4], parts[3], job_id, query, headers, value))
        if request.transport is not None:
            self._transports.add(request.transport)
        if statuses := self.refuse.get(parts[3]):
            return web.Response(status=statuses.pop(0))
        url = self._upstream + request.path_qs.removeprefix("/v2/local")
        async with aiohttp.ClientSession() as session:
            async with session.request(request.method, url, data=body) as answer:
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


@contextmanager
def recording(upstream: str) -> Iterator[Recorder]:
    """A recorder in front of the endpoint `upstream`, in a thread of its own."""
    loop = asyncio.new_event_loop()
    recorder, ready, over = Recorder(upstream, loop), threading.Event(), asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{rest:.*}", recorder.relay)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2/local"
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield recorder
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
