"""One launch of the engine, from its first process to the last: ready or not, then over, then nothing left of it.

`over` comes first, within a moment of the first death of any of its processes, so that callers learn the cause at
once; the end of `live()` comes when every process is gone and their memory is given back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

from worker_vllm.engine.client.metrics import METRICS, Progress, parse_progress
from worker_vllm.engine.diagnosis.diagnose import EngineExit
from worker_vllm.engine.interface import Engine, EngineRefused, EngineRequest
from worker_vllm.engine.process.child_process import EngineProcess
from worker_vllm.engine.supervision.oom_counter import oom_kills
from worker_vllm.engine.supervision.process_watcher import ProcessWatcher
from worker_vllm.engine.supervision.stall_detector import LOOKS, StallDetector, Waits
from worker_vllm.engine.supervision.startup_phases import StartTimeline
from worker_vllm.engine.supervision.warmup import warm_up
from worker_vllm.errors import WorkerError
from worker_vllm.settings.types import EngineSettings

logger = logging.getLogger(__name__)

PROBE_INTERVAL_S = 0.05  # a refused connection to a Unix socket costs microseconds; only a starting child is probed
PROBE_TIMEOUT_S = 5.0
LAST_WORDS_S = 0.2  # what a dying process wrote is read before the cause is named
HEALTH = EngineRequest("GET", "/health")


class Health(Enum):
    """What one look at the engine's health shows."""

    WELL = "well"
    DEAD = "dead"  # it says so, or nobody listens
    UNKNOWN = "unknown"  # no answer: a busy server gives none, nor does one that hangs


class EngineConnection(Engine, Protocol):
    """An engine reached over HTTP that can be let go."""

    async def aclose(self) -> None:
        """Close every connection."""


class EngineRun:
    """Owns the process and the connection it is given, from inside a running loop; `live()` is called once."""

    def __init__(self, settings: EngineSettings, process: EngineProcess, connection: EngineConnection) -> None:
        self.connection = connection
        self.over = asyncio.Event()
        self.waits = Waits()  # for this engine: requests whose next word it owes
        self.stalled = False
        self.timeline = StartTimeline(time.monotonic, process.spawned_at, log_phase)
        self._settings = settings
        self._process = process
        self._reason = ""
        self._oom_kills = oom_kills()
        self._ready_at: float | None = None
        self._checking: asyncio.Task[None] | None = None
        process.adopt(self._on_line)

    @property
    def healthy_s(self) -> float:
        """Seconds since it was ready; 0 when it never was."""
        return 0.0 if self._ready_at is None else time.monotonic() - self._ready_at

    @property
    def ending(self) -> EngineExit:
        """What is known of the end so far."""
        return EngineExit(
            exit_code=self._process.exit_code,
            lines=tuple(self._process.tail.lines),
            reason=self._reason,
            phase=self.timeline.phase,
            was_ready=self._ready_at is not None,
            model=self._settings.served_names[-1],
            oom_killed=oom_kills() > self._oom_kills,
        )

    async def live(self, on_ready: Callable[[], None]) -> None:
        """Start, serve, end. Returns when nothing of the engine is left; cancelling it ends the engine in order."""
        exited = asyncio.create_task(self._see_exit(), name="engine-exit")
        watch = stall = None
        try:
            if await self._start():
                watch = ProcessWatcher(self._process.pid, self._on_death)
                self._process.take_inventory()
                self._ready_at = time.monotonic()
                if self._settings.stall_timeout_s > 0:
                    stall = asyncio.create_task(self._watch_for_stall(), name="engine-stall")
                on_ready()
            await self._process.wait()
        finally:
            if watch is not None:
                watch.close()
            await cancel(stall, self._checking)
            await self._process.stop()
            await cancel(exited)
            self.over.set()
            await self.connection.aclose()

    def tell(self, settings: EngineSettings) -> bool:
        """The download is whole: say what to serve to an engine spawned waiting; False when it cannot become one."""
        self.timeline.end("download" if self.timeline.phase == "import" else "rest of the download")
        told = self._process.send_arguments(settings)
        if not told:
            logger.warning("the engine that was started before the download is of no use: starting another")
        return told

    async def discard(self) -> None:
        """End an engine that is not to live; returns when nothing of it is left."""
        await self._process.kill()
        await self.connection.aclose()

    async def stop(self) -> None:
        """End the engine in order; `live()` then returns."""
        await self._process.stop()

    def end(self, reason: str) -> None:
        """Give this engine up: everything of it is killed at once."""
        if not self._reason:
            self._reason = reason
        self._process.abandon()

    @property
    def failing(self) -> bool:
        """Whether it was given up, or is over already."""
        return bool(self._reason) or self.over.is_set()

    def doubt(self) -> asyncio.Task[None]:
        """An answer gave reason to doubt the engine: ask for its health, and end it if it says that it is dead.

        Silence is no death, since a request can keep the server busy for long: the watch for stalls judges that.
        The task that asks; waiting for it is up to the caller.
        """
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check(), name="engine-health")
        return self._checking

    async def _start(self) -> bool:
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                while await self._health() is not Health.WELL:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self.over.wait(), PROBE_INTERVAL_S)
                    if self.over.is_set():
                        return False
                route = await warm_up(self.connection, self._settings.served_names[0])
        except TimeoutError:
            self.end(f"it was not ready after {self._settings.start_timeout_s:.0f} s")
            return False
        self.timeline.end(f"warm-up {route or 'refused'}")
        return not self.over.is_set()

    async def _health(self) -> Health:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                response = await self.connection.request(HEALTH)
        except EngineRefused:
            return Health.DEAD
        except (WorkerError, TimeoutError):
            return Health.UNKNOWN
        response.close()
        if response.status >= 500:
            return Health.DEAD
        return Health.WELL if response.status == 200 else Health.UNKNOWN

    async def _check(self) -> None:
        """Ask until there is an answer: a connection that breaks off at once may be a server about to end."""
        give_up = time.monotonic() + PROBE_TIMEOUT_S
        health = await self._health()
        while health is Health.UNKNOWN and time.monotonic() < give_up and not self.over.is_set():
            await asyncio.sleep(PROBE_INTERVAL_S)
            health = await self._health()
        if health is Health.DEAD and not self.over.is_set():
            self.end("it no longer listens, or says that it is dead")

    async def _see_exit(self) -> None:
        await self._process.wait()
        self.over.set()

    def _on_death(self, name: str) -> None:
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self.over.set)
        self.end(f"{name} ended")

    def _on_line(self, line: str) -> None:
        self.timeline.read(line)
        logger.info("%s", line, extra={"source": "engine"})

    async def _watch_for_stall(self) -> None:
        """A question that a busy server is slow to answer stays open over several looks: any answer is one."""
        timeout_s = self._settings.stall_timeout_s
        interval_s = timeout_s / LOOKS
        clock = StallDetector(interval_s)
        asking: asyncio.Task[Progress | None] | None = None
        try:
            while True:
                if asking is None:
                    await asyncio.sleep(interval_s)
                    asking = asyncio.create_task(self._progress(timeout_s), name="engine-progress")
                await asyncio.wait([asking], timeout=interval_s)
                progress, asking = (asking.result(), None) if asking.done() else (None, asking)
                stalled_s = clock.see(progress, self.waits.since, time.monotonic())
                if stalled_s >= timeout_s:
                    self._end_stalled(stalled_s, silent=progress is None)
                    return
        finally:
            await cancel(asking)

    def _end_stalled(self, stalled_s: float, *, silent: bool) -> None:
        how = "its server does not answer" if silent else f"{self.waits.count} requests wait for it"
        self.stalled = True
        self.end(f"it made no progress for {stalled_s:.0f} s, and {how}")

    async def _progress(self, timeout_s: float) -> Progress | None:
        """The engine's progress; None when it does not even say so."""
        try:
            async with asyncio.timeout(timeout_s):
                response = await self.connection.request(METRICS)
                try:
                    return parse_progress((await response.read()).decode(errors="replace"))
                finally:
                    response.close()
        except (WorkerError, TimeoutError):
            return None


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they ended."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def log_phase(phase: str, took_s: float) -> None:
    """Show the start's progress as it happens."""
    logger.info("engine start: %s took %.1f s", phase, took_s)
