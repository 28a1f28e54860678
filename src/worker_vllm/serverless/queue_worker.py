"""The queue worker: runs every job that is taken at once, cancels, drains, and leaves no result behind.

Knows the protocol's order of events; what a job means is the handler's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.job_run import Handler, JobRun, Outcome, Redact, as_it_is
from worker_vllm.serverless.delivery.post_rate import PostRateLimits, PostScheduler
from worker_vllm.serverless.delivery.result_sender import ResultSender
from worker_vllm.serverless.delivery.result_spool import JobResult, ResultSpool
from worker_vllm.serverless.delivery.stream_sender import JobGone, StreamSender
from worker_vllm.serverless.drain_phases import Ending, Impatience, end_all, stopped
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.serverless.intake.backoff import PollBackoff
from worker_vllm.serverless.intake.cancel_loop import EMPTY, CancelLoop
from worker_vllm.serverless.intake.heartbeat import send_pings
from worker_vllm.serverless.intake.take_loop import Crew, LoadReport, TakeLoop, tells_nothing
from worker_vllm.settings.types import QueueSettings

log = logging.getLogger(__name__)

MOST_UNDELIVERED_BYTES = 256 * 1024 * 1024
UNDELIVERED_AFTER_S = 1.0  # a result that takes longer counts in admission; a prompt one costs no slot


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the loop depends on besides the platform; `random` gives numbers in [0, 1)."""

    admission: Admission | None = None
    load: LoadReport = tells_nothing
    random: Callable[[], float] = random.random
    ending: Ending = field(default_factory=Ending)
    redact: Redact = as_it_is  # takes secrets out of what a failed job is told


@dataclass(slots=True)
class _Held:
    """One job that is owed a result: its work, its result once there is one, whether the platform cancelled it."""

    execution: JobRun
    wanted_until: float  # seconds since 1970
    result: JobResult | None = None
    cancelled: bool = False


class QueueWorker:
    """Serves jobs with `handler` until drained. Create it inside a running event loop."""

    def __init__(
        self, handler: Handler, settings: QueueSettings, platform: Platform, surroundings: Surroundings | None = None
    ) -> None:
        around = surroundings or Surroundings()
        self._handler = handler
        self._settings = settings
        self._platform = platform
        self._random = around.random
        self._redact = around.redact
        self._addresses = protocol.Addresses.of(settings)
        self.admission = around.admission or Admission(settings.max_concurrency)
        self._intake = TakeLoop(platform, self._addresses, self.admission, around.load)
        self._stops = CancelLoop(platform, self._addresses, self._cancel)
        self.outbox = StreamSender(
            platform, self._addresses, PostScheduler(PostRateLimits(), asyncio.get_running_loop().time), around.random
        )
        spool = ResultSpool(Path(settings.spool_directory)) if settings.spool_directory else None
        self.delivery = ResultSender(platform, spool, around.random)
        self._working: dict[str, JobRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # every job held here, until its result is delivered
        self._held: dict[str, _Held] = {}  # the same jobs
        self._late: set[str] = set()  # those whose result has been on its way for a while
        self._idle, self._settled = asyncio.Event(), asyncio.Event()  # no job is worked on; none is owed a result
        self._ending = around.ending
        self._impatience = Impatience()
        self._started = 0
        self._recycling = False

    @property
    def held(self) -> tuple[str, ...]:
        """Ids of the jobs that this worker still owes a result."""
        return tuple(self._tasks)

    def drain(self) -> None:
        """Take no further job; `run` returns when those here are finished or out of time."""
        self._intake.stop()

    def force(self) -> None:
        """Drain at once: what runs fails now, and only a moment is left to tell it."""
        self.drain()
        self._impatience.force()

    def pause(self, paused: bool) -> None:
        """Take no job while paused; one that a poll already out brings is run all the same."""
        self.admission.open = not paused
        self._intake.room_changed()

    def recycle(self) -> None:
        """Drain, and have the platform replace this worker after its last job (`stopPod`)."""
        self._recycling = True
        self.drain()

    async def run(self) -> None:
        """Take and run jobs until `drain`; return when every result is delivered, spooled or given up."""
        interval_s = self._settings.ping_interval_s
        services = [
            asyncio.create_task(send_pings(self._platform, self._addresses, interval_s, lambda: self.held)),
            asyncio.create_task(self._stops.run(PollBackoff(self._random, EMPTY), lambda: bool(self._tasks))),
            asyncio.create_task(self.delivery.deliver_left(self._addresses.done_url)),
        ]
        crew = Crew(lambda: bool(self._tasks), self._full, self._start)
        taking = asyncio.create_task(self._intake.run(crew, PollBackoff(self._random)))
        stopped = asyncio.create_task(self._intake.stopped.wait())
        try:
            await _until(stopped, [taking, *services])
            await self._leave(taking)
            await self._finish_jobs()
        finally:
            if self._tasks:
                log.warning("stopping with %d results undelivered: %s", len(self._tasks), ", ".join(self._tasks))
            await end_all([stopped, taking, *services, *self._tasks.values()])

    def _full(self) -> bool:
        """Whether too much waits to be delivered to take anything on."""
        return self.delivery.held_bytes > MOST_UNDELIVERED_BYTES

    def _start(self, job: protocol.Job) -> None:
        job_id = job["id"]
        if self._stops.came_too_late(job_id):
            log.info("job=%s was cancelled before it arrived", job_id)
            return
        if job_id in self._tasks:
            log.warning("job=%s was handed out twice, the first run goes on", job_id)
            return
        execution = JobRun(job, self._handler, self.outbox, self._ending.last_words_s, self._redact)
        held = self._held[job_id] = _Held(execution, time.time() + execution.limits.life_s)
        self._working[job_id] = execution
        self.admission.held = len(self._working)
        self._idle.clear()
        self._settled.clear()
        task = asyncio.create_task(self._execute(held), name=f"job {job_id}")
        self._tasks[job_id] = task
        task.add_done_callback(lambda task: self._ended(job_id, task))
        self._started += 1
        if self._started == self._settings.recycle_after_jobs:
            self.recycle()

    async def _execute(self, held: _Held) -> None:
        job_id = held.execution.job_id
        try:
            outcome = await held.execution.outcome()
            self._free_slot(job_id)
            body = outcome.body(held.execution.job, stop_pod=self._recycling and len(self._tasks) == 1)
            held.result = self._result(held, body)
            await self._deliver(held.result)
        except JobGone as gone:
            log.warning("job=%s is not known to the platform any more: %s", job_id, gone)

    async def _deliver(self, result: JobResult) -> None:
        late = asyncio.get_running_loop().call_later(UNDELIVERED_AFTER_S, self._count_late, result.job_id)
        try:
            await self.delivery.deliver(result)
        finally:
            late.cancel()
            self._late.discard(result.job_id)
            self.admission.undelivered = len(self._late)

    def _count_late(self, job_id: str) -> None:
        self._late.add(job_id)
        self.admission.undelivered = len(self._late)

    def _result(self, held: _Held, body: bytes) -> JobResult:
        job_id = held.execution.job_id
        return JobResult(job_id, self._addresses.done(job_id), body, held.wanted_until)

    def _ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        """A job's task is over, however it went; a cancelled one may never have begun."""
        held = self._held.pop(job_id)
        del self._tasks[job_id]
        if not self._tasks:
            self._settled.set()
        self._free_slot(job_id)
        if not task.cancelled():
            if (error := task.exception()) is not None:
                log.error("job=%s was dropped by a fault of the worker", job_id, exc_info=error)
        elif held.cancelled:
            self.delivery.forget(job_id)
        else:
            self.delivery.keep(held.result or self._result(held, _cut_off(held)))

    def _free_slot(self, job_id: str) -> None:
        self._working.pop(job_id, None)
        if not self._working:
            self._idle.set()
        self.admission.held = len(self._working)
        self._intake.room_changed()

    def _cancel(self, job_id: str) -> bool:
        """Stop a job without a word to the platform; whether it was here."""
        task = self._tasks.get(job_id)
        if task is None:
            return False
        log.info("job=%s cancelled", job_id)
        self._held[job_id].cancelled = True
        return task.cancel()

    async def _leave(self, taking: asyncio.Task[None]) -> None:
        """Close the take that is out so that no job of its answer is lost, as far as that is in our hands.

        Aborting it would lose an answer on its way. What remains: a platform, or a proxy before it, that hands a
        batch out after it could have seen that nobody waits any more, and one that sends it later than
        `left_take_s` after that. The protocol has no hand-back and no receipt for a take.
        """
        await self._impatience.wait(asyncio.wait([taking]), self._ending.late_take_s)
        if not taking.done():
            self._intake.leave()
            await self._impatience.wait(asyncio.wait([taking]), self._ending.left_take_s)
        if not taking.done() and self._intake.leave():
            await self._impatience.wait(asyncio.wait([taking]), self._ending.slow_take_s)
        await end_all([taking])

    async def _finish_jobs(self) -> None:
        """Let the jobs finish within the drain time, then fail the rest: their last words first, then the results."""
        if not self._tasks:
            return
        await self._impatience.wait(self._settled.wait(), self._settings.drain_timeout_s)
        for execution in self._working.values():
            execution.end(stopped())
        if self._working:
            await self._impatience.wait(self._idle.wait(), self._ending.last_words_s)
        await self._impatience.wait(self._settled.wait(), self._ending.last_results_s)
        if self._impatience.forced and self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._ending.forced_s)


def _cut_off(held: _Held) -> bytes:
    return Outcome(error=stopped()).body(held.execution.job, stop_pod=False)


async def _until(stopped: asyncio.Future[Any], tasks: list[asyncio.Task[None]]) -> None:
    """Wait for `stopped`; a service that breaks down meanwhile raises its error."""
    pending: set[asyncio.Future[Any]] = {stopped, *tasks}
    while not stopped.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
