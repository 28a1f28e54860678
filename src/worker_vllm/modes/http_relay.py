"""The worker's own server on PORT: its guard as a reverse proxy in front of an engine.

It serves ENGINE_URL, and an engine whose server cannot adopt the worker's listening socket. `Relay` takes the place
of the `Handover` to such an engine: requests take one more hop, and everything else stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

import uvicorn
import uvloop

from worker_vllm.engine.child.adopted_socket import AcceptingServer
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.process.handover import Handover
from worker_vllm.engine.supervision.attached_engine import AttachedEngine
from worker_vllm.modes.http_requests import HttpRequests
from worker_vllm.modes.job_observation import JobObservation
from worker_vllm.modes.queue import EXIT_FORCED, first_of, with_signals
from worker_vllm.observability.metric_names import Served
from worker_vllm.settings.types import Settings
from worker_vllm.web.guard_settings import GuardSettings, guard_settings
from worker_vllm.web.health import Condition, Report, WebResponse, respond
from worker_vllm.web.listener import Listener, close_listeners
from worker_vllm.web.ports import Ports
from worker_vllm.web.request_report import Report as RequestReport
from worker_vllm.web.reverse_proxy import guarded_proxy, server_config

log = logging.getLogger(__name__)

CUT_S = 1.0  # for requests to an engine that has gone: they end with an error


class Relay:
    """Serves one engine on the worker's listening sockets; the worker's side of what `Handover` does elsewhere.

    Create it inside the running loop, close it with `close`.
    """

    def __init__(self, url: str, guard: GuardSettings, report: RequestReport | None = None) -> None:
        self.ended = asyncio.Event()  # set when its server has ended; the engine's end is seen by its supervisor
        self._url = url
        self._guard = guard
        self._report = report
        self._cleanup = contextlib.AsyncExitStack()
        self._server: _Server | None = None
        self._port: AcceptingServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def accept(self, listening: Sequence[socket.socket]) -> None:
        """Return once it accepts on these sockets; they stay open and the caller's."""
        app = await self._cleanup.enter_async_context(guarded_proxy(self._url, self._guard, self._report))
        self._server = server = _Server(server_config(app))
        self._port = AcceptingServer(server)
        self._serving = asyncio.create_task(server.serve(sockets=[]), name="relay")
        self._serving.add_done_callback(lambda _: self.ended.set())
        await first_of(self._serving, server.listening)
        for each in listening:
            await self._port.accept(os.dup(each.fileno()))

    async def stop(self) -> None:
        """Accept no more."""
        if self._port is not None:
            self._port.stop_accepting()

    async def finished(self) -> None:
        """After `stop`: return once no request is running."""
        if self._port is not None:
            await self._port.finish()

    async def has_requests(self) -> bool:
        """Whether a request is running."""
        return self._port is not None and self._port.has_requests

    async def close(self) -> None:
        """Accept no more, and end what runs within CUT_S."""
        await self.stop()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait([self._serving], timeout=CUT_S)
            self._server.force_exit = True
            await asyncio.wait([self._serving])
        await self._cleanup.aclose()


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers of its own; `listening` is set when it can serve."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then set `listening`."""
        await super().startup(sockets)
        self.listening.set()


def serve_attached(settings: Settings, ports: Ports) -> int:
    """Serve the guard in front of ENGINE_URL on these ports until SIGTERM or SIGINT; the exit status."""
    return uvloop.run(_serve_attached(settings, ports))


async def _serve_attached(settings: Settings, ports: Ports) -> int:
    stop, force = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (force if stop.is_set() else stop).set()

    def draining(method: str, target: str) -> WebResponse:
        return respond(method, target, Report(Condition.DRAINING), settings.http.health_path)

    with_signals(on_signal)
    listeners = [Listener(port, draining) for port in (ports.requests, ports.health) if port is not None]
    async with _observed(settings) as (rules, report):
        relay = Relay(settings.engine.url or "", rules, report)
        try:
            await relay.accept([listener.socket for listener in listeners])
            await stop.wait()
            await relay.stop()
            for listener in listeners:
                listener.accept()
            await wait_finished(relay, force, settings.queue.drain_timeout_s)
        finally:
            await relay.close()
            await close_listeners(listeners)
    log.info("the worker ends with status %d", EXIT_FORCED if force.is_set() else 0)
    return EXIT_FORCED if force.is_set() else 0


@contextlib.asynccontextmanager
async def _observed(settings: Settings) -> AsyncIterator[tuple[GuardSettings, RequestReport]]:
    """The guard's rules for an attached engine, and what takes its reports: each request is recorded here."""
    token = secrets.token_hex(16)
    engine = AttachedEngine(HttpEngine(settings.engine.url or ""))
    running = asyncio.create_task(engine.run(), name="engine")
    observation = JobObservation(settings, engine, Served.ALWAYS)
    observation.read_requests(HttpRequests(observation.ledger, token, ()))
    try:
        async with contextlib.AsyncExitStack() as cleanup:
            await observation.expose(cleanup, {})
            rules = guard_settings(settings, report_token=token)
            yield replace(rules, traced=observation.tracing is not None), observation.reports.take
    finally:
        await engine.stop()
        await asyncio.wait([running])
        await observation.close()


async def wait_finished(server: Handover | Relay, force: asyncio.Event, timeout_s: float) -> bool:
    """Return when no request is running or `force` is set: True; or after the timeout: False."""
    finished = asyncio.create_task(server.finished())
    try:
        async with asyncio.timeout(timeout_s):
            await first_of(finished, force)
        return True
    except TimeoutError:
        log.warning("DRAIN_TIMEOUT is over: the requests that still run end now")
        return False
    finally:
        finished.cancel()
