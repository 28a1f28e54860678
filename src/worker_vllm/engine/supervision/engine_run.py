"""One launch of the engine: from the spawned process through readiness to the exit of its last process.

`exited` is set within a moment of the exit of any of its processes, so that callers get the cause at once; `run`
returns when every process is gone and their memory is free.
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
from worker_vllm.engine.supervision.line_level import LineLevel
from worker_vllm.engine.supervision.oom_counter import oom_kills
from worker_vllm.engine.supervision.process_watcher import ProcessWatcher
from worker_vllm.engine.supervision.stall_detector import (
    CHECKS_PER_TIMEOUT,
    ClientRequests,
    PendingReads,
    StallDetector,
)
from worker_vllm.engine.supervision.startup_phases import StartTimeline
from worker_vllm.engine.supervision.warmup import warm_up
from worker_vllm.errors import WorkerError
from worker_vllm.settings.types import EngineSettings

logger = logging.getLogger(__name__)

PROBE_INTERVAL_S = 0.05  # a refused connection to a Unix socket costs microseconds; only a starting child is probed
PROBE_TIMEOUT_S = 5.0
LOG_FLUSH_S = 0.2  # the last log lines of an exiting process are read before the cause is decided
HEALTH = EngineRequest("GET", "/health")


class Health(Enum):
    """The result of one health probe."""

    HEALTHY = "healthy"
    DEAD = "dead"  # it responds so, or no process listens
    UNKNOWN = "unknown"  # no response: a busy server gives none, nor does a hanging one


class EngineConnection(Engine, Protocol):
    """A closable connection to an engine."""

    async def aclose(self) -> None:
        """Close every connection."""


class EngineRun:
    """Owns the process and the connection that it is given. Create it in a running loop; `run` is called once."""

    def __init__(
        self,
        settings: EngineSettings,
        process: EngineProcess,
        connection: EngineConnection,
        on_report: Callable[[bytes], None] = lambda report: None,
    ) -> None:
        self.connection = connection
        self.exited = asyncio.Event()
        self.pending = PendingReads()
        self.stalled = False
        self.timeline = StartTimeline(time.monotonic, process.spawned_at, log_phase)
        self._settings = settings
        self._process = process
        self._reason = ""
        self._oom_kills = oom_kills()
        self._ready_at: float | None = None
        self._health_check: asyncio.Task[None] | None = None
        self._level = LineLevel()
        process.adopt(self._on_line, on_report)

    @property
    def healthy_s(self) -> float:
        """Seconds since it became ready; 0 when it never did."""
        return 0.0 if self._ready_at is None else time.monotonic() - self._ready_at

    @property
    def socket(self) -> str:
        """Path of the Unix socket that this launch serves on."""
        return self._process.socket

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was spawned."""
        return time.monotonic() - self._process.spawned_at

    @property
    def engine_exit(self) -> EngineExit:
        """What is known of the exit so far."""
        return EngineExit(
            exit_code=self._process.exit_code,
            lines=tuple(self._process.tail.lines),
            reason=self._reason,
            phase=self.timeline.phase,
            was_ready=self._ready_at is not None,
            model=self._settings.served_names[-1],
            oom_killed=oom_kills() > self._oom_kills,
        )

    @property
    def failing(self) -> bool:
        """Whether it was killed by `kill`, or has exited."""
        return bool(self._reason) or self.exited.is_set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Start the engine, wait for its exit, clean up. Returns when nothing of it is left; cancelling stops it."""
        exiting = asyncio.create_task(self._watch_exit(), name="engine-exit")
        watcher = stall = None
        try:
            if await self._start():
                watcher = ProcessWatcher(self._process.pid, self._on_process_exit)
                self._process.take_inventory()
                self._ready_at = time.monotonic()
                if self._settings.stall_timeout_s > 0:
                    stall = asyncio.create_task(self._watch_for_stall(), name="engine-stall")
                on_ready()
            await self._process.wait()
        finally:
            if watcher is not None:
                watcher.close()
            await cancel(stall, self._health_check)
            await self._process.stop()
            await cancel(exiting)
            self.exited.set()
            await self.connection.aclose()

    def send_arguments(self, settings: EngineSettings) -> bool:
        """Send its arguments to an engine that was spawned before the download; False when it cannot serve them."""
        self.timeline.end("download" if self.timeline.phase == "import" else "rest of the download")
        sent = self._process.send_arguments(settings)
        if not sent:
            logger.warning("the engine that was spawned before the download cannot be used: starting another")
        return sent

    async def discard(self) -> None:
        """Kill an engine for which `run` is not called; returns when nothing of it is left."""
        await self._process.kill()
        await self.connection.aclose()

    async def stop(self) -> None:
        """Stop the engine in order; `run` then returns."""
        await self._process.stop()

    def kill(self, reason: str) -> None:
        """Kill all processes of the engine at once; `reason` goes into the diagnosis."""
        if not self._reason:
            self._reason = reason
        self._process.abandon()

    def check_health(self) -> asyncio.Task[None]:
        """Probe the engine's health and kill it if it is dead; called when a response suggests that.

        No response does not mean dead, since one request can keep the server busy for long: the stall detector
        decides that. Returns the task of the probe, which the caller need not await.
        """
        if self._health_check is None or self._health_check.done():
            self._health_check = asyncio.create_task(self._probe_until_known(), name="engine-health")
        return self._health_check

    async def _start(self) -> bool:
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                while await self._probe() is not Health.HEALTHY:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self.exited.wait(), PROBE_INTERVAL_S)
                    if self.exited.is_set():
                        return False
                route = await warm_up(self.connection, self._settings.served_names[0])
        except TimeoutError:
            self.kill(f"it was not ready after {self._settings.start_timeout_s:.0f} s")
            return False
        self.timeline.end(f"warm-up {route or 'refused'}")
        return not self.exited.is_set()

    async def _probe(self) -> Health:
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
        return Health.HEALTHY if response.status == 200 else Health.UNKNOWN

    async def _probe_until_known(self) -> None:
        """Repeat an UNKNOWN probe: a connection that closes at once may belong to a server that is about to exit."""
        give_up = time.monotonic() + PROBE_TIMEOUT_S
        health = await self._probe()
        while health is Health.UNKNOWN and time.monotonic() < give_up and not self.exited.is_set():
            await asyncio.sleep(PROBE_INTERVAL_S)
            health = await self._probe()
        if health is Health.DEAD and not self.exited.is_set():
            self.kill("it no longer listens, or reports that it is dead")

    async def _watch_exit(self) -> None:
        await self._process.wait()
        self.exited.set()

    def _on_process_exit(self, name: str) -> None:
        asyncio.get_running_loop().call_later(LOG_FLUSH_S, self.exited.set)
        self.kill(f"{name} ended")

    def _on_line(self, line: str) -> None:
        self.timeline.read(line)
        level = self._level.of(line)
        if logger.isEnabledFor(max(level, logging.INFO)):
            record = logger.makeRecord(
                logger.name, level, __file__, 0, "%s", (line,), None, None, {"source": "engine"}
            )
            logger.handle(record)

    async def _watch_for_stall(self) -> None:
        """Update the stall detector; one request for progress may last several updates while the server is busy."""
        timeout_s = self._settings.stall_timeout_s
        interval_s = timeout_s / CHECKS_PER_TIMEOUT
        fetch_timeout_s = timeout_s + 2 * interval_s  # a silent server is stalled before its request times out
        detector = StallDetector(interval_s, time.monotonic())
        clients = ClientRequests()
        fetching: asyncio.Task[Progress | None] | None = None
        try:
            while True:
                if fetching is None:
                    await asyncio.sleep(interval_s)
                    fetching = asyncio.create_task(self._fetch_progress(fetch_timeout_s), name="engine-progress")
                await asyncio.wait([fetching], timeout=interval_s)
                progress, fetching = (fetching.result(), None) if fetching.done() else (None, fetching)
                now = time.monotonic()
                waiting_since = self.pending.since
                if self._settings.adopts_socket and (since := clients.waiting_since(progress, now)) is not None:
                    waiting_since = since if waiting_since is None else min(since, waiting_since)
                stalled_s = detector.update(progress, waiting_since, now)
                if stalled_s >= timeout_s:
                    self._kill_stalled(stalled_s, silent=progress is None)
                    return
        finally:
            await cancel(fetching)

    def _kill_stalled(self, stalled_s: float, *, silent: bool) -> None:
        how = f"{self.pending.count or 'its'} requests wait for it"
        if silent:
            how = "its server does not respond"
        self.stalled = True
        self.kill(f"it made no progress for {stalled_s:.0f} s, and {how}")

    async def _fetch_progress(self, timeout_s: float) -> Progress | None:
        """The engine's progress; None when its server does not respond."""
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
    """Log one phase of the start when it ends."""
    logger.info("engine start: %s took %.1f s", phase, took_s)
