"""The queue worker: takes jobs, runs each at once, cancels, drains, and delivers or spools every result.

It knows the order of the protocol's messages. What a job means is up to the handler.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_vllm.errors import WorkerError
from worker_vllm.observability import metric_names as names
from worker_vllm.observability.job_record import current_record
from worker_vllm.observability.logging import current_job
from worker_vllm.observability.metric_names import Metric
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.job_run import STOPPED_BY_WORKER, JobRun, RunOutcome
from worker_vllm.serverless.delivery.post_rate import machine_scheduler
from worker_vllm.serverless.delivery.result_sender import ResultSender
from worker_vllm.serverless.delivery.result_spool import JobResult, ResultSpool
from worker_vllm.serverless.delivery.stream_sender import JobGone, StreamSender
from worker_vllm.serverless.drain_phases import DrainTimeouts, ForcedStop, cancel_all, stopped_error
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.serverless.intake.backoff import PollBackoff
from worker_vllm.serverless.intake.cancel_loop import STOP_POLL_BACKOFF, CancelLoop
from worker_vllm.serverless.intake.heartbeat import send_pings
from worker_vllm.serverless.intake.take_loop import TakeLoop
from worker_vllm.serverless.job_policy import queue_delay_s
from worker_vllm.serverless.job_service import JobService
from worker_vllm.settings.types import QueueSettings

log = logging.getLogger(__name__)

MAX_UNDELIVERED_BYTES = 256 * 1024 * 1024
UNDELIVERED_AFTER_S = 1.0  # a result that takes longer occupies a slot; a prompt one does not


@dataclass(slots=True)
class _OpenJob:
    """One job that is owed a result: its run, its result once there is one, whether the platform cancelled it."""

    job_run: JobRun
    wanted_until: float  # seconds since 1970
    result: JobResult | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class _Loops:
    """The tasks of a serving worker. `stop_requested` ends when no further job is to be taken."""

    services: list[asyncio.Task[None]]  # pings, cancellations, spooled results
    taking: asyncio.Task[None]
    stop_requested: asyncio.Task[Any]


class QueueWorker:
    """Serves jobs until drained. Create it inside a running event loop; `random` returns numbers in [0, 1)."""

    def __init__(
        self,
        jobs: JobService,
        settings: QueueSettings,
        platform: Platform,
        admission: Admission | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.admission = admission or Admission(settings.max_concurrency)
        self._service = jobs
        self._settings = settings
        self._platform = platform
        self._random = random
        self._addresses = protocol.Addresses.of(settings)
        self._take_loop = TakeLoop(platform, self._addresses, self.admission, jobs.load)
        self._cancel_loop = CancelLoop(platform, self._addresses, self._cancel)
        self._scheduler = machine_scheduler(asyncio.get_running_loop().time)
        self._streams = StreamSender(platform, self._addresses, self._scheduler, random)
        spool = ResultSpool(Path(settings.spool_directory)) if settings.spool_directory else None
        self._results = ResultSender(platform, spool, random)
        self._running: dict[str, JobRun] = {}  # the jobs that the engine works on
        self._tasks: dict[str, asyncio.Task[None]] = {}  # every job, until its result is delivered
        self._open: dict[str, _OpenJob] = {}  # the same jobs
        self._idle, self._all_delivered = asyncio.Event(), asyncio.Event()  # `_running` is empty; `_tasks` is empty
        self._timeouts = DrainTimeouts()
        self._forced_stop = ForcedStop()
        self._started = 0
        self._recycling = False

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Ids of the jobs that this worker still owes a result."""
        return tuple(self._tasks)

    def gauges(self) -> dict[Metric, Callable[[], float]]:
        """The gauges of this worker and of the objects that it owns."""
        own: dict[Metric, Callable[[], float]] = {names.JOBS_UNDELIVERED: lambda: len(self._tasks)}
        return {**self.admission.gauges(), **own, **self._scheduler.gauges(), **self._results.gauges()}

    def drain(self) -> None:
        """Take no further job; `run` returns when those here are finished or the drain time is over."""
        self._take_loop.stop()

    def force(self) -> None:
        """Drain at once: running jobs fail now, and `forced_s` is left to post their errors."""
        self.drain()
        self._forced_stop.force()

    def pause(self, paused: bool) -> None:
        """Take no job while paused; jobs that an already open poll returns are run nevertheless."""
        self.admission.open = not paused
        self._take_loop.slots_changed()

    def recycle(self) -> None:
        """Drain, and have the platform replace this worker after its last job (`stopPod`)."""
        self._recycling = True
        self.drain()

    async def run(self, timeouts: DrainTimeouts | None = None) -> None:
        """Take and run jobs until `drain`; return when every result is delivered, spooled or given up."""
        self._timeouts = timeouts or self._timeouts
        loops = self._start()
        try:
            await self._serve(loops)
            await self._drain(loops)
        finally:
            await self._close(loops)

    def _start(self) -> _Loops:
        """Start every loop, the first ping before the first take."""
        interval_s = self._settings.ping_interval_s
        cancelling = self._cancel_loop.run(PollBackoff(self._random, STOP_POLL_BACKOFF), self.has_jobs)
        return _Loops(
            services=[
                asyncio.create_task(send_pings(self._platform, self._addresses, interval_s, lambda: self.job_ids)),
                asyncio.create_task(cancelling),
                asyncio.create_task(self._results.deliver_spooled(self._addresses.done_url)),
            ],
            taking=asyncio.create_task(self._take_loop.run(self, PollBackoff(self._random))),
            stop_requested=asyncio.create_task(self._take_loop.stopped.wait()),
        )

    async def _serve(self, loops: _Loops) -> None:
        """Wait for `drain`; a loop that breaks down before that raises its error."""
        pending: set[asyncio.Future[Any]] = {loops.stop_requested, loops.taking, *loops.services}
        while not loops.stop_requested.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _drain(self, loops: _Loops) -> None:
        await self._end_open_take(loops.taking)
        await self._finish_jobs()

    async def _close(self, loops: _Loops) -> None:
        if self._tasks:
            log.warning("stopping with %d results undelivered: %s", len(self._tasks), ", ".join(self._tasks))
        await cancel_all([loops.stop_requested, loops.taking, *loops.services, *self._tasks.values()])

    def has_jobs(self) -> bool:
        """Whether any job is owed a result."""
        return bool(self._tasks)

    def is_full(self) -> bool:
        """Whether the results that wait for delivery are too large to take further jobs."""
        return self._results.pending_bytes > MAX_UNDELIVERED_BYTES

    def start_job(self, job: protocol.Job) -> None:
        """Run a job that was taken, unless it was cancelled before it arrived or is here already."""
        job_id = job["id"]
        if self._cancel_loop.is_already_cancelled(job_id):
            log.info("job=%s was cancelled before it arrived", job_id)
            self._end_unstarted(job_id)
            return
        if job_id in self._tasks:
            log.warning("job=%s was handed out twice, the first run goes on", job_id)
            return
        record = self._service.ledger.open(job_id, queue_delay_s(job))
        job_run = JobRun(job, self._service.handle, self._streams, self._service.redact, record)
        open_job = self._open[job_id] = _OpenJob(job_run, time.time() + job_run.limits.ttl_s)
        self._running[job_id] = job_run
        self.admission.acquire(job_id)
        self._idle.clear()
        self._all_delivered.clear()
        task = asyncio.create_task(self._run_job(open_job), name=f"job {job_id}")
        self._tasks[job_id] = task
        task.add_done_callback(lambda task: self._job_ended(job_id, task))
        self._started += 1
        if self._started == self._settings.recycle_after_jobs:
            self.recycle()

    async def _run_job(self, open_job: _OpenJob) -> None:
        job_id, record = open_job.job_run.job_id, open_job.job_run.record
        current_job.set(job_id)
        current_record.set(record)
        try:
            outcome = await open_job.job_run.run(self._timeouts.final_events_s)
            self._free_slot(job_id)
            body = outcome.body(open_job.job_run.job, stop_pod=self._recycling and len(self._tasks) == 1)
            open_job.result = self._result(open_job, body)
            await self._deliver(open_job.result)
        except JobGone as gone:
            log.warning("job=%s is not known to the platform any more: %s", job_id, gone)
            if not record.outcome:
                record.end("cancelled", "platform")

    async def _deliver(self, result: JobResult) -> None:
        acquire = self.admission.acquire_undelivered
        late = asyncio.get_running_loop().call_later(UNDELIVERED_AFTER_S, acquire, result.job_id)
        try:
            await self._results.deliver(result)
        finally:
            late.cancel()
            self.admission.release_undelivered(result.job_id)

    def _result(self, open_job: _OpenJob, body: Sequence[bytes]) -> JobResult:
        job_id = open_job.job_run.job_id
        return JobResult(job_id, self._addresses.done(job_id), body, open_job.wanted_until)

    def _job_ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        """Called when a job's task has ended in any way; a cancelled task may never have started."""
        open_job = self._open.pop(job_id)
        del self._tasks[job_id]
        if not self._tasks:
            self._all_delivered.set()
        self._free_slot(job_id)
        record = open_job.job_run.record
        if not task.cancelled():
            if (error := task.exception()) is not None:
                log.error("job=%s was dropped by an internal error of the worker", job_id, exc_info=error)
                record.fail(WorkerError("internal error"))
        elif open_job.cancelled:
            record.end("cancelled", "platform")
            self._results.discard(job_id)
        else:
            if open_job.result is None:
                record.end(*STOPPED_BY_WORKER)
            self._results.spool(open_job.result or self._result(open_job, _stopped_body(open_job)))
        self._service.ledger.close(record)

    def _end_unstarted(self, job_id: str) -> None:
        """Record a job that was cancelled before it arrived."""
        record = self._service.ledger.open(job_id)
        record.end("cancelled", "platform")
        self._service.ledger.close(record)

    def _free_slot(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        if not self._running:
            self._idle.set()
        self.admission.release(job_id)
        self._take_loop.slots_changed()

    def _cancel(self, job_id: str) -> bool:
        """Stop a job and post nothing more for it. Returns whether it was here."""
        task = self._tasks.get(job_id)
        if task is None:
            return False
        log.debug("job=%s cancelled", job_id)
        self._open[job_id].cancelled = True
        return task.cancel()

    async def _end_open_take(self, taking: asyncio.Task[None]) -> None:
        """End the open take without losing a job of its answer, as far as this side can.

        Aborting the request would lose an answer on its way. Two cases remain: a platform, or a proxy before it, that
        hands out a batch after it could have seen the closed connection, and one that sends it later than
        `abandoned_take_s` after that. The protocol has no hand-back and no receipt for a take.
        """
        await self._forced_stop.wait(asyncio.wait([taking]), self._timeouts.open_take_s)
        if not taking.done():
            self._take_loop.abandon_poll()
            await self._forced_stop.wait(asyncio.wait([taking]), self._timeouts.abandoned_take_s)
        if not taking.done() and self._take_loop.abandon_poll():
            await self._forced_stop.wait(asyncio.wait([taking]), self._timeouts.slow_take_s)
        await cancel_all([taking])

    async def _finish_jobs(self) -> None:
        """Let jobs finish within the drain time, then fail the rest: their final events first, then the results."""
        if not self._tasks:
            return
        await self._forced_stop.wait(self._all_delivered.wait(), self._settings.drain_timeout_s)
        for job_run in self._running.values():
            job_run.fail(stopped_error())
        if self._running:
            await self._forced_stop.wait(self._idle.wait(), self._timeouts.final_events_s)
        await self._forced_stop.wait(self._all_delivered.wait(), self._timeouts.final_results_s)
        if self._forced_stop.forced and self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._timeouts.forced_s)


def _stopped_body(open_job: _OpenJob) -> Sequence[bytes]:
    return RunOutcome(error=stopped_error()).body(open_job.job_run.job, stop_pod=False)
