"""Takes jobs while there are free slots: one long poll at a time, which asks for as many jobs as there are slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from worker_vllm.engine.interface import EngineLoad
from worker_vllm.serverless import protocol
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.serverless.intake.backoff import PollBackoff
from worker_vllm.serverless.intake.long_poll import poll

log = logging.getLogger(__name__)

REPORT_INTERVAL_S = 1.0  # how often a worker with a full window asks for the engine's load
MAX_FAULTS_LOGGED = 10  # in one line of the log

LoadReport = Callable[[], Awaitable[EngineLoad | None]]


async def no_load_report() -> EngineLoad | None:
    """The load report of an engine that has none."""
    return None


class JobStarter(Protocol):
    """Starts the jobs that the loop takes; the queue worker implements it."""

    def has_jobs(self) -> bool:
        """Whether any job is here; each take reports it to the platform."""

    def is_full(self) -> bool:
        """Whether results that wait for delivery fill the memory, so that no job may be taken."""

    def start_job(self, job: protocol.Job) -> None:
        """Start a job that was taken."""


class TakeLoop:
    """Polls for jobs until `stop`. `slots_changed` makes it count the free slots again."""

    def __init__(
        self, platform: Platform, addresses: protocol.Addresses, admission: Admission, load: LoadReport
    ) -> None:
        self.stopped = asyncio.Event()
        self._platform = platform
        self._addresses = addresses
        self._admission = admission
        self._load = load
        self._changed = asyncio.Event()
        self._url = ""

    def slots_changed(self) -> None:
        """Count again: a job has ended, or admission was opened or closed."""
        self._changed.set()

    def stop(self) -> None:
        """Start no further poll; one that is open may still return jobs."""
        self.stopped.set()
        self._changed.set()

    def abandon_poll(self) -> bool:
        """End the open poll as soon as that loses no answer; returns whether its answer has begun to arrive."""
        return self._platform.abandon(self._url) if self._url else False

    async def run(self, jobs: JobStarter, backoff: PollBackoff) -> None:
        """Take jobs and start each in the same event loop iteration, until `stop`."""
        while not self.stopped.is_set():
            count = 0 if jobs.is_full() else self._admission.free
            if count == 0:
                await self._wait_for_slots(jobs)
                continue
            self._url = self._addresses.take(count, jobs.has_jobs())
            polled = await poll(self._platform, self._url, "job-take")
            taken = protocol.parse_take(polled.body) if polled.body else protocol.TakenJobs()
            if taken.faults:
                shown = "; ".join(taken.faults[:MAX_FAULTS_LOGGED])
                log.error("job-take: %d entries without a usable id, dropped: %s", len(taken.faults), shown)
            for job in taken.jobs:
                _start(jobs, job)
            if taken.jobs:
                backoff.reset()
            elif pause_s := backoff.after(polled.answer, polled.held_s):
                await _wait_up_to(self.stopped, pause_s)

    async def _wait_for_slots(self, jobs: JobStarter) -> None:
        self._changed.clear()
        if self._admission.wants_report and not jobs.is_full():
            self._admission.update(await self._load())
            if not self._admission.free:
                await _wait_up_to(self._changed, REPORT_INTERVAL_S)
        else:
            await self._changed.wait()


def _start(jobs: JobStarter, job: protocol.Job) -> None:
    try:
        jobs.start_job(job)
    except Exception:
        log.exception("job=%s could not be started; the other jobs of its batch are", job["id"])


async def _wait_up_to(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
