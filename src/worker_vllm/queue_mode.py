"""Queue mode put together: the engine's life, the worker core and the job protocol in one event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from worker_vllm.engine.base import Engine
from worker_vllm.engine.client import HttpEngine
from worker_vllm.engine.process import EngineProcess
from worker_vllm.engine.supervisor import State, Supervisor
from worker_vllm.serverless.loop import QueueLoop
from worker_vllm.serverless.platform import HttpPlatform
from worker_vllm.settings.model import EngineKind, Settings
from worker_vllm.worker import Worker

log = logging.getLogger(__name__)

EXIT_ENGINE = 1
EXIT_FORCED = 130


def serve_queue(settings: Settings, environment: Mapping[str, str], process: EngineProcess | None) -> int:
    """Serve jobs until SIGTERM or SIGINT; the exit status. `process` is the engine that was already spawned."""
    return uvloop.run(_serve(settings, environment, process))


async def _serve(settings: Settings, environment: Mapping[str, str], process: EngineProcess | None) -> int:
    stop, force = asyncio.Event(), asyncio.Event()
    with_signals(lambda: force.set() if stop.is_set() else stop.set())
    async with ready_engine(settings, environment, process, stop) as engine:
        if stop.is_set():
            return 0
        if engine is None:
            return EXIT_ENGINE
        platform = HttpPlatform(settings.queue.api_key.reveal())
        queue = QueueLoop(Worker(engine, settings).handle, settings.queue, platform)
        running = asyncio.create_task(queue.run(), name="queue")
        try:
            await first_of(running, stop)
            queue.drain()
            await first_of(running, force)
            return EXIT_FORCED if force.is_set() else 0
        finally:
            running.cancel()
            await asyncio.wait([running])
            platform.close()
            if not running.cancelled():
                running.result()


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
    settings: Settings, environment: Mapping[str, str], process: EngineProcess | None, stop: asyncio.Event
) -> AsyncIterator[Engine | None]:
    """The engine once it can serve; None when it never will or `stop` came first. It ends with the context."""
    if settings.engine.kind is EngineKind.ATTACH:
        attached = HttpEngine(settings.engine.url or "")
        try:
            yield attached
        finally:
            await attached.aclose()
        return
    supervisor = Supervisor(settings.engine, environment, HttpEngine, process)
    life = asyncio.create_task(supervisor.run(), name="engine")
    settled = asyncio.create_task(supervisor.settled())
    try:
        await first_of(settled, stop)
        ready = settled.done() and settled.result() is State.READY
        yield supervisor if ready else None
    finally:
        settled.cancel()
        await supervisor.stop()
        await asyncio.wait([life])
