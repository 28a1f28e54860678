"""Queue mode: the engine, the job handler and the queue worker in one event loop, from start to close."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import uvloop

from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.client.metrics import fetch_load, parse_load
from worker_vllm.engine.client.retry_when_full import RetryWhenFull
from worker_vllm.engine.interface import EngineFailure, EngineState, ManagedEngine
from worker_vllm.engine.records.engine_records import EngineRecords
from worker_vllm.engine.supervision.attached_engine import AttachedEngine
from worker_vllm.engine.supervision.startup import StartPlan
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.modes.job_observation import JobObservation
from worker_vllm.observability.metric_names import Served
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.http.proxies import ignored_proxy
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.serverless.intake.fault_report import report_fault, report_wedged
from worker_vllm.serverless.job_service import JobService
from worker_vllm.serverless.loop_watchdog import Watchdog, WatchdogLimits
from worker_vllm.serverless.protocol import Addresses
from worker_vllm.serverless.queue_worker import QueueWorker
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import QueueSettings, Settings

log = logging.getLogger(__name__)

EXIT_ENGINE = 1
EXIT_WEDGED = 70
EXIT_FORCED = 130
FORCED_END_S = 3.0  # after a second signal; the queue worker gives itself one second
VOLUME = "/runpod-volume"
UNKNOWN_FAULT = EngineFailure("engine", "the engine does not serve, for an unknown reason")
WEDGED = "the event loop is blocked: the worker exits"


def serve_queue(settings: Settings, plan: StartPlan | None) -> int:
    """Serve jobs until SIGTERM or SIGINT; the exit status. Without a plan, attach to the engine at ENGINE_URL."""
    return uvloop.run(_serve(settings, plan))


async def _serve(settings: Settings, plan: StartPlan | None) -> int:
    if plan is None:
        mode = QueueMode(AttachedEngine(HttpEngine(settings.engine.url or "")), settings)
    else:
        records = EngineRecords(settings, plan.environment)
        mode = QueueMode(Supervisor(plan, HttpEngine, observer=records), settings, records)
    with_signals(mode.on_signal)
    try:
        if await mode.start():
            await mode.serve()
            await mode.drain()
    finally:
        await mode.close()
    return mode.exit_status


class QueueMode:
    """One worker process in queue mode. Its owner calls `start`, `serve` and `drain` in this order, then `close`."""

    def __init__(self, engine: ManagedEngine, settings: Settings, records: EngineRecords | None = None) -> None:
        self.exit_status = 0
        self._engine = engine
        self._records = records
        self._settings = settings
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._observation = JobObservation(settings, engine, Served.QUEUE)
        if records is not None:
            self._observation.receipt = records.shown
        self._platform = HttpPlatform(settings.queue.api_key.reveal())
        self._queue: QueueWorker | None = None
        self._queue_run: asyncio.Task[None] | None = None
        self._cleanup = AsyncExitStack()

    def on_signal(self) -> None:
        """Request the drain; the second call requests the end of the drain."""
        if self._stop.is_set():
            log.warning("a second signal: the jobs that run fail now")
        else:
            held = len(self._queue.job_ids) if self._queue is not None else 0
            drain_s = self._settings.queue.drain_timeout_s
            log.info("stop signal: no more jobs are taken; %d here may take %.0f s to end", held, drain_s)
        (self._force if self._stop.is_set() else self._stop).set()

    async def start(self) -> bool:
        """Start the engine, then the queue worker; False where no job is to be taken.

        Waits until the engine is READY or REFUSING (every job is then answered with the diagnosis). No job is taken
        when the engine is GONE, or when a signal comes first.
        """
        self._cleanup.callback(self._platform.close)
        if self._records is not None:
            self._cleanup.push_async_callback(self._records.aclose)
        self._cleanup.push_async_callback(self._observation.close)
        running = asyncio.create_task(self._engine.run(), name="engine")
        self._cleanup.push_async_callback(self._stop_engine, running)
        decided = asyncio.create_task(self._engine.wait_until_decided())
        self._cleanup.callback(decided.cancel)
        await first_of(decided, self._stop)
        if self._stop.is_set():
            return False
        if decided.result() is not EngineState.READY:
            await self._report_fault()
        if decided.result() not in (EngineState.READY, EngineState.REFUSING):
            self.exit_status = EXIT_ENGINE
            return False
        watchdog = Watchdog(WatchdogLimits(), self._leave_wedged)
        watchdog.start()
        self._cleanup.callback(watchdog.stop)
        self._queue = queue = self._queue_worker()
        self._queue_run = asyncio.create_task(queue.run(), name="queue")
        self._cleanup.push_async_callback(self._end_queue, self._queue_run)
        following = asyncio.create_task(self._follow_engine(queue), name="engine-state")
        self._cleanup.callback(following.cancel)
        show = queue.admission.show
        gauges = queue.gauges()
        await self._observation.expose(
            self._cleanup, gauges, lambda text: show(parse_load(text.decode(errors="replace")))
        )
        return True

    async def serve(self) -> None:
        """Run jobs until a signal, or until the engine is GONE."""
        assert self._queue_run is not None
        await first_of(self._queue_run, self._stop)

    async def drain(self) -> None:
        """Take no more jobs and finish those that run; at a second signal, fail them. Sets the exit status."""
        assert self._queue is not None
        assert self._queue_run is not None
        began = time.monotonic()
        self._queue.drain()
        await first_of(self._queue_run, self._force)
        if self._force.is_set():
            self._queue.force()
            await asyncio.wait([self._queue_run], timeout=FORCED_END_S)
            self.exit_status = EXIT_FORCED
        if self._engine.state is EngineState.GONE:
            self.exit_status = EXIT_ENGINE
        log.info(
            "drained in %.1f s; %d results are not delivered", time.monotonic() - began, len(self._queue.job_ids)
        )

    async def close(self) -> None:
        """End everything that `start` started, the engine last. Raises what the queue worker raised."""
        try:
            await self._cleanup.aclose()
        finally:
            log.info("the worker ends with status %d", self.exit_status)

    def _queue_worker(self) -> QueueWorker:
        settings, engine = self._settings, self._engine
        if proxy := ignored_proxy(settings.queue.take_url, os.environ):
            log.warning("%s", proxy)
        admission = Admission(settings.queue.max_concurrency, known_capacity(settings.engine.arguments))

        def refused() -> None:
            admission.refused()
            self._observation.engine_refused()

        handler = JobHandler(RetryWhenFull(engine, refused, random.random), settings)
        redact = Redactor(settings.secrets).value
        jobs = JobService(handler.handle, lambda: fetch_load(engine), redact, self._observation.ledger)
        return QueueWorker(jobs, with_spool(settings.queue), self._platform, admission)

    async def _follow_engine(self, queue: QueueWorker) -> None:
        """Pause the queue while the engine is STARTING, stop when it is GONE; report every fault once."""
        engine, reported = self._engine, self._engine.state is EngineState.REFUSING
        while engine.state not in (EngineState.GONE, EngineState.STOPPED):
            queue.pause(engine.state is EngineState.STARTING)
            if engine.state is EngineState.REFUSING and not reported:
                reported = True
                await self._report_fault()
                continue  # the state may have changed meanwhile
            await engine.changed()
        queue.pause(True)
        if engine.state is EngineState.GONE:
            await self._report_fault()
        self._stop.set()

    async def _report_fault(self) -> None:
        """Report to the platform why the engine does not serve, without secrets."""
        failure = self._engine.failure or UNKNOWN_FAULT
        redact = Redactor(self._settings.secrets)
        addresses = Addresses.of(self._settings.queue)
        await report_fault(self._platform, addresses, redact(failure.cause), redact(failure.sentence))

    def _leave_wedged(self) -> None:
        report_wedged(self._settings.queue, WEDGED)
        os._exit(EXIT_WEDGED)

    async def _stop_engine(self, running: asyncio.Task[None]) -> None:
        await self._engine.stop()
        await asyncio.wait([running])

    async def _end_queue(self, running: asyncio.Task[None]) -> None:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()


def with_spool(settings: QueueSettings) -> QueueSettings:
    """The settings with a directory for undelivered results: by default on the network volume, if one is mounted."""
    if settings.spool_directory is None and os.access(VOLUME, os.W_OK):
        return replace(settings, spool_directory=f"{VOLUME}/.worker-vllm/results")
    return settings


def known_capacity(arguments: Sequence[str]) -> int | None:
    """How many sequences the engine runs at once, by its arguments; None where they leave that to the engine."""
    value = EngineArguments(arguments).get("--max-num-seqs")
    return int(value) if value is not None and value.isdecimal() and int(value) > 0 else None


def with_signals(on_signal: Callable[[], None]) -> None:
    """Call `on_signal` for each SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


async def first_of(running: asyncio.Future[Any], event: asyncio.Event) -> None:
    """Return when the task has ended or the event is set."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
