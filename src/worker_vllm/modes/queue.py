"""Queue mode put together: the engine's life, the worker core and the job protocol in one event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.client.metrics import EngineLoad, parse_load
from worker_vllm.engine.client.retry_when_full import RetryWhenFull
from worker_vllm.engine.interface import Engine, EngineRequest
from worker_vllm.engine.supervision.startup import StartPlan
from worker_vllm.engine.supervision.supervisor import State, Supervisor
from worker_vllm.errors import WorkerError
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.http.proxies import ignored_proxy
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.serverless.job_service import JobService
from worker_vllm.serverless.loop_watchdog import Watchdog, WatchdogLimits
from worker_vllm.serverless.metrics import publish
from worker_vllm.serverless.queue_worker import QueueWorker
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import QueueSettings, Settings

log = logging.getLogger(__name__)

EXIT_ENGINE = 1
EXIT_WEDGED = 70
EXIT_FORCED = 130
LOAD_TIMEOUT_S = 2.0
FORCED_END_S = 3.0  # after a second signal, for a loop that gives itself one second
VOLUME = "/runpod-volume"


def serve_queue(settings: Settings, beginning: StartPlan | None) -> int:
    """Serve jobs until SIGTERM or SIGINT; the exit status. Without a beginning the engine is somebody else's."""
    return uvloop.run(_serve(settings, beginning))


async def _serve(settings: Settings, beginning: StartPlan | None) -> int:
    stop, force = asyncio.Event(), asyncio.Event()
    with_signals(lambda: force.set() if stop.is_set() else stop.set())
    async with ready_engine(settings, beginning, stop) as engine:
        if stop.is_set():
            return 0
        if engine is None:
            return EXIT_ENGINE
        watchdog = Watchdog(WatchdogLimits(), lambda: os._exit(EXIT_WEDGED))
        watchdog.start()
        try:
            return await serve_jobs(engine, settings, stop, force)
        finally:
            watchdog.stop()


async def serve_jobs(engine: Engine, settings: Settings, stop: asyncio.Event, force: asyncio.Event) -> int:
    """Serve jobs with `engine` until `stop` and a drain, or `force`; the exit status."""
    if proxy := ignored_proxy(settings.queue.take_url, os.environ):
        log.warning("%s", proxy)
    platform = HttpPlatform(settings.queue.api_key.reveal())
    admission = Admission(settings.queue.max_concurrency, known_capacity(settings.engine.arguments))
    worker = JobHandler(RetryWhenFull(engine, admission.refused, random.random), settings)
    redact = Redactor(settings.secrets).value
    jobs = JobService(worker.handle, lambda: engine_load(engine), redact)
    queue = QueueWorker(jobs, with_spool(settings.queue), platform, admission)
    running = asyncio.create_task(queue.run(), name="queue")
    following = asyncio.create_task(follow(engine, queue, stop), name="engine-state")
    try:
        async with figures(queue, engine, settings.metrics_address):
            await first_of(running, stop)
            queue.drain()
            await first_of(running, force)
            if force.is_set():
                queue.force()
                await asyncio.wait([running], timeout=FORCED_END_S)
        if isinstance(engine, Supervisor) and engine.state is State.GONE:
            return EXIT_ENGINE
        return EXIT_FORCED if force.is_set() else 0
    finally:
        following.cancel()
        running.cancel()
        await asyncio.wait([running])
        platform.close()
        if not running.cancelled():
            running.result()


@asynccontextmanager
async def figures(queue: QueueWorker, engine: Engine, address: tuple[str, int] | None) -> AsyncIterator[None]:
    """What the queue decides by, shown with the engine's own figures where the operator asked for it."""
    if address is None:
        yield
        return
    from worker_vllm.observability.metrics_server import metrics_at

    registry = CollectorRegistry()
    publish(queue.gauges(), registry)
    async with metrics_at(address, registry, lambda: engine_metrics(engine)):
        yield


async def follow(engine: Engine, queue: QueueWorker, stop: asyncio.Event) -> None:
    """Take jobs only while they can be served, or told why they never will be; stop when the engine is GONE."""
    if not isinstance(engine, Supervisor):
        return
    while engine.state not in (State.GONE, State.STOPPED):
        queue.pause(engine.state is State.STARTING)
        await engine.changed()
    stop.set()


def with_spool(settings: QueueSettings) -> QueueSettings:
    """Where undelivered results wait: as told, else on the network volume if there is one."""
    if settings.spool_directory is None and os.access(VOLUME, os.W_OK):
        return replace(settings, spool_directory=f"{VOLUME}/.worker-vllm/results")
    return settings


async def engine_load(engine: Engine) -> EngineLoad | None:
    """What the engine's metrics say of its load; None when it tells nothing."""
    return parse_load((await engine_metrics(engine)).decode("utf-8", "replace"))


async def engine_metrics(engine: Engine) -> bytes:
    """The engine's own figures as it shows them; empty when it shows none."""
    with suppress(WorkerError, TimeoutError):
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            response = await engine.request(EngineRequest("GET", "/metrics"))
            try:
                if response.status == 200:
                    return await response.read()
            finally:
                response.close()
    return b""


def known_capacity(arguments: Sequence[str]) -> int | None:
    """How many sequences the engine was told to run at once; None where it decides by itself."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    for name, value in pairwise(words):
        if name == "--max-num-seqs" and value.isdecimal() and int(value) > 0:
            return int(value)
    return None


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


@asynccontextmanager
async def ready_engine(
    settings: Settings, beginning: StartPlan | None, stop: asyncio.Event
) -> AsyncIterator[Engine | None]:
    """The engine once it can serve or tell why it never will; None when this machine cannot, or `stop` came first.

    It ends with the context.
    """
    if beginning is None:
        attached = HttpEngine(settings.engine.url or "")
        try:
            yield attached
        finally:
            await attached.aclose()
        return
    supervisor = Supervisor(beginning, HttpEngine)
    life = asyncio.create_task(supervisor.run(), name="engine")
    settled = asyncio.create_task(supervisor.settled())
    try:
        await first_of(settled, stop)
        ready = settled.done() and settled.result() in (State.READY, State.REFUSING)
        yield supervisor if ready else None
    finally:
        settled.cancel()
        await supervisor.stop()
        await asyncio.wait([life])
