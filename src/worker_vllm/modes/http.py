"""Http mode: clients reach the engine's own server on PORT; the worker answers there whenever that server does not.

The worker binds PORT before it spawns the engine. While the engine starts, after it died, and while the worker stops,
the worker accepts on PORT and answers health, and 503 to everything else. When the engine is ready, the worker stops
accepting and hands the socket over. An engine whose server cannot adopt it is served through a `Relay` instead: the
worker's own guard and reverse proxy. PORT_HEALTH, where it differs, is always answered by the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import uvloop

from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineState, ManagedEngine
from worker_vllm.engine.process.handover import Handover, connect
from worker_vllm.engine.records.engine_records import EngineRecords
from worker_vllm.engine.supervision.startup import StartPlan
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.engine.supervision.warmup import warm_up
from worker_vllm.errors import WorkerError
from worker_vllm.modes.http_relay import Relay, wait_finished
from worker_vllm.modes.http_requests import HttpRequests
from worker_vllm.modes.http_start import HEALTH_FILE
from worker_vllm.modes.job_observation import JobObservation
from worker_vllm.modes.queue import EXIT_ENGINE, EXIT_FORCED, first_of, with_signals
from worker_vllm.observability.metric_names import Served
from worker_vllm.settings.types import Settings
from worker_vllm.web.guard_settings import guard_settings
from worker_vllm.web.health import READY_PATH, Condition, Report, WebResponse, estimate_remaining_s, respond
from worker_vllm.web.listener import Listener, close_listeners
from worker_vllm.web.ports import Ports

log = logging.getLogger(__name__)

PROBES_PER_TIMEOUT = 4  # of ENGINE_STALL_TIMEOUT
RELAYED = (
    "the engine's server cannot accept on port %d (%s): the worker accepts there and passes requests on, behind the "
    "same guard; vLLM 0.32.0 accepts itself, without this hop"
)


class StartingEngine(ManagedEngine, Protocol):
    """A ManagedEngine whose start can be followed; `Supervisor` implements it."""

    @property
    def socket(self) -> str:
        """Path of the Unix socket that the engine serves on."""

    @property
    def diagnosis(self) -> str:
        """Why the engine does not serve."""

    @property
    def stalled(self) -> bool:
        """Whether it was killed because it made no progress."""

    @property
    def start_progress(self) -> tuple[str, float, float | None]:
        """Phase, seconds since the spawn, duration of an earlier start."""


def serve_http(settings: Settings, plan: StartPlan, ports: Ports, report_token: str) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    return uvloop.run(_serve(settings, plan, ports, report_token))


async def _serve(settings: Settings, plan: StartPlan, ports: Ports, report_token: str) -> int:
    records = EngineRecords(settings, plan.environment)
    mode = HttpMode(Supervisor(plan, HttpEngine, observer=records), settings, ports, report_token, records)
    with_signals(mode.on_signal)
    try:
        await mode.serve()
        await mode.drain()
    finally:
        await mode.close()
        await records.aclose()
    return mode.exit_status


class HttpMode:
    """One worker process in http mode. Its owner calls `serve` and `drain`, then `close`. Create it in the loop."""

    def __init__(
        self,
        engine: StartingEngine,
        settings: Settings,
        ports: Ports,
        report_token: str = "",
        records: EngineRecords | None = None,
    ) -> None:
        self.exit_status = 0
        self._observation = JobObservation(settings, engine, Served.ALWAYS)
        self._http_requests = HttpRequests(self._observation.ledger, report_token, settings.engine.served_names)
        self._observation.read_requests(self._http_requests)
        if records is not None:
            self._observation.receipt = records.shown
            records.more_in_flight = self._http_requests.in_flight
        self._cleanup = AsyncExitStack()
        self._report_token = report_token
        self._engine = engine
        self._settings = settings
        self._requests = Listener(ports.requests, self._respond)
        self._health = Listener(ports.health, self._respond) if ports.health is not None else None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._handover: Handover | Relay | None = None  # while clients' requests reach the engine
        self._handed_to = ""  # socket of the launch that PORT was handed over to
        self._was_ready = False
        self._running: asyncio.Task[None] | None = None

    def on_signal(self) -> None:
        """Request the drain; the second call requests the end of the drain."""
        (self._force if self._stop.is_set() else self._stop).set()

    async def serve(self) -> None:
        """Serve until a signal, or until the engine is GONE."""
        for listener in self._listeners():
            listener.accept()
        self._running = asyncio.create_task(self._engine.run(), name="engine")
        await self._observation.expose(self._cleanup, {})
        following = asyncio.create_task(self._follow(), name="engine-state")
        probing = asyncio.create_task(self._probe_core(), name="engine-probe")
        try:
            await first_of(following, self._stop)
        finally:
            following.cancel()
            probing.cancel()
            await asyncio.wait([following, probing])
        if not following.cancelled():
            following.result()

    async def drain(self) -> None:
        """Answer 503 on every port, and let running requests finish within DRAIN_TIMEOUT. Sets the exit status."""
        if self._engine.state is EngineState.GONE:
            self.exit_status = EXIT_ENGINE
        self._stop.set()
        handover = self._handover
        if handover is None:
            return
        log.info("stopping: new requests get 503, running ones may take %.0f s", self._settings.queue.drain_timeout_s)
        self._write_health_file()
        try:
            await handover.stop()
        except (OSError, TimeoutError) as error:
            log.warning("the engine's server does not stop accepting: %s", error or type(error).__name__)
        self._requests.accept()
        if not await wait_finished(handover, self._force, self._settings.queue.drain_timeout_s):
            self._http_requests.stopping = True
        if self._force.is_set():
            self._http_requests.stopping = True
            self.exit_status = EXIT_FORCED

    async def close(self) -> None:
        """Stop the engine, answer who is connected, close the ports."""
        if self._handover is not None:
            await self._handover.close()
            self._handover = None
        if self._running is not None:
            await self._engine.stop()
            await asyncio.wait([self._running])
        self._http_requests.engine_ended()
        await self._cleanup.aclose()
        await self._observation.close()
        await close_listeners(self._listeners())
        log.info("the worker ends with status %d", self.exit_status)
        if self._running is not None and not self._running.cancelled():
            self._running.result()

    def _listeners(self) -> Iterator[Listener]:
        yield self._requests
        if self._health is not None:
            yield self._health

    async def _follow(self) -> None:
        """Hand the socket over to each launch that is READY, take it back when that ends; returns when it is GONE."""
        while (state := self._engine.state) not in (EngineState.GONE, EngineState.STOPPED):
            if state is not EngineState.READY:
                self._http_requests.engine_ended()
            if state is EngineState.READY and self._handed_to != self._engine.socket:
                await self._hand_over()
            elif self._handover is not None and (state is not EngineState.READY or self._handover.ended.is_set()):
                await self._take_back()
            else:
                changed = asyncio.create_task(self._changed_from(state))
                try:
                    await first_of(changed, self._handover.ended if self._handover is not None else self._stop)
                finally:
                    changed.cancel()

    async def _probe_core(self) -> None:
        """While clients' requests run, ask the engine for one token now and then.

        The supervisor sees no client's request, so a core that hangs before it counts one would stay unnoticed. A
        probe that waits while no counter moves lets the supervisor's stall detector decide.
        """
        interval_s = self._settings.engine.stall_timeout_s / PROBES_PER_TIMEOUT
        while interval_s > 0:
            await asyncio.sleep(interval_s)
            with contextlib.suppress(OSError, TimeoutError, WorkerError):
                if self._handover is not None and await self._handover.has_requests():
                    await warm_up(self._engine, self._settings.engine.served_names[0])

    async def _changed_from(self, state: EngineState) -> None:
        while self._engine.state is state:
            await self._engine.changed()

    async def _hand_over(self) -> None:
        """Stop accepting, then have the engine's server accept; the kernel queues connections meanwhile."""
        self._requests.pause()
        self._handed_to = self._engine.socket
        port = self._requests.socket.getsockname()[1]
        try:
            self._handover = await self._adopted()
            log.info("the engine's server accepts requests on port %d", port)
        except (OSError, TimeoutError) as error:
            log.warning(RELAYED, port, str(error) or type(error).__name__)
            self._handover = await self._relayed()
        except asyncio.CancelledError:
            self._requests.accept()
            raise
        self._was_ready = True

    async def _adopted(self) -> Handover:
        """The engine's own server on PORT. Raises OSError or TimeoutError where it cannot adopt the socket."""
        handover = await connect(self._engine.socket)
        try:
            await handover.accept([self._requests.socket])
        except BaseException:
            await handover.close()
            raise
        return handover

    async def _relayed(self) -> Relay:
        """The worker's own server on PORT, in front of the engine's Unix socket."""
        rules = guard_settings(self._settings, health_file=str(self._health_file()), report_token=self._report_token)
        rules = replace(rules, traced=self._observation.tracing is not None)
        relay = Relay(f"unix:{self._engine.socket}", rules, self._observation.reports.take)
        try:
            await relay.accept([self._requests.socket])
        except BaseException:
            await relay.close()
            self._requests.accept()
            raise
        return relay

    async def _take_back(self) -> None:
        """Accept again after the engine's server has gone."""
        handover, self._handover = self._handover, None
        if handover is not None:
            await handover.close()
        self._requests.accept()
        log.info("the engine's server has gone: the worker answers on its port")

    def _health_file(self) -> Path:
        return Path(self._engine.socket).with_name(HEALTH_FILE)

    def _write_health_file(self) -> None:
        """Have the guard answer health with 503 on connections that the engine's server keeps open."""
        path = self._health_file()
        try:
            path.with_suffix(".new").write_bytes(self._respond("GET", READY_PATH).body)
            path.with_suffix(".new").rename(path)
        except OSError as error:
            log.warning("health on kept connections stays 200 while the worker stops: %s", error)

    def _respond(self, method: str, target: str) -> WebResponse:
        return respond(method, target, self.report(), self._settings.http.health_path)

    def report(self) -> Report:
        """What the worker reports of the engine now."""
        engine = self._engine
        if self._stop.is_set():
            return Report(Condition.DRAINING)
        if engine.state is EngineState.REFUSING:
            return Report(Condition.REFUSED, diagnosis=engine.diagnosis)
        if engine.state in (EngineState.GONE, EngineState.STOPPED):
            return Report(Condition.GONE, diagnosis=engine.diagnosis)
        if engine.state is EngineState.READY and self._handover is not None and not self._handover.ended.is_set():
            return Report(Condition.READY)
        phase, elapsed_s, previous_s = engine.start_progress
        if not self._was_ready:
            return Report(Condition.STARTING, phase, estimate_remaining_s(phase, elapsed_s, previous_s))
        condition = Condition.STALLED if engine.stalled else Condition.DEAD
        return Report(condition, phase, estimate_remaining_s(phase, elapsed_s, previous_s), engine.diagnosis)
