"""The queue worker: takes jobs as long as there is room, runs each at once, cancels, drains.

Knows the protocol's order of events; what a job means is the handler's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from worker_vllm.errors import EngineUnavailable
from worker_vllm.serverless import wire
from worker_vllm.serverless.admission import Admission
from worker_vllm.serverless.delivery import Delivery, Result
from worker_vllm.serverless.exchange import Answer, NoAnswer, NotSent
from worker_vllm.serverless.execution import Execution, Handler
from worker_vllm.serverless.heartbeat import beat
from worker_vllm.serverless.outbox import JobGone, Outbox
from worker_vllm.serverless.pace import PollPace
from worker_vllm.serverless.platform import Platform
from worker_vllm.serverless.turns import Turns
from worker_vllm.settings.model import QueueSettings

log = logging.getLogger(__name__)

LONGEST_POLL_S = 90.0
LATE_TAKE_S = 2.0  # a pending take may still bring a job after the signal: closing it at once could lose that job


class QueueLoop:
    """Serves jobs with `handler` until drained. Create it inside a running event loop."""

    def __init__(
        self,
        handler: Handler,
        settings: QueueSettings,
        platform: Platform,
        *,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._handler = handler
        self._settings = settings
        self._platform = platform
        self._random = rand
        self._addresses = wire.Addresses.of(settings)
        self._admission = Admission(settings.max_concurrency)
        self._outbox = Outbox(platform, self._addresses, Turns(), rand)
        self._delivery = Delivery(platform, rand)
        self._working: dict[str, Execution] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # every job held here, until its result is delivered
        self._changed = asyncio.Event()
        self._draining = asyncio.Event()

    @property
    def held(self) -> tuple[str, ...]:
        """Ids of the jobs that this worker still owes a result."""
        return tuple(self._tasks)

    def drain(self) -> None:
        """Take no further job; `run` returns when those here are finished or out of time."""
        self._draining.set()

    async def run(self) -> None:
        """Take and run jobs until `drain`; return when every result is delivered or given up."""
        beating = asyncio.create_task(
            beat(self._platform, self._addresses, self._settings.ping_interval_s, lambda: self.held), name="heartbeat"
        )
        stopping = asyncio.create_task(self._obey_stops(), name="job-stop")
        taking = asyncio.create_task(self._take_jobs(), name="job-take")
        try:
            await _first_of(asyncio.create_task(self._draining.wait()), taking, stopping)
            await asyncio.wait([taking], timeout=LATE_TAKE_S)
            await _end(taking)
            await self._finish_jobs()
        finally:
            for task in (beating, stopping, taking, *self._tasks.values()):
                await _end(task)

    async def _take_jobs(self) -> None:
        pace = PollPace(self._random)
        while not self._draining.is_set():
            count = self._admission.free(len(self._working))
            if count == 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            url = self._addresses.take(count, busy=bool(self._tasks))
            answer, held_s = await self._poll(url, "job-take")
            jobs = self._jobs_of(answer)
            for job in jobs:
                self._start(job)
            if jobs:
                pace.useful()
            elif pause_s := pace.after(answer, held_s):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._draining.wait(), pause_s)

    async def _poll(self, url: str, what: str) -> tuple[Answer | None, float]:
        """The answer to a long poll, or None when none came, and the seconds it was held."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            answer: Answer | None = await self._platform.get(url, LONGEST_POLL_S)
        except (NotSent, NoAnswer) as error:
            log.warning("%s: %s", what, error)
            answer = None
        else:
            if answer is not None and answer.status not in (200, 204, 400, 429):
                log.warning("%s: HTTP %d", what, answer.status)
        return answer, clock() - began

    def _jobs_of(self, answer: Answer | None) -> list[wire.Job]:
        if answer is None or answer.status != 200 or not answer.body:
            return []
        try:
            return wire.parse_jobs(answer.body)
        except wire.ProtocolError as error:
            log.error("job-take: %s", error)
            return []

    def _start(self, job: wire.Job) -> None:
        if job["id"] in self._tasks:
            log.warning("job=%s was handed out twice, the first run goes on", job["id"])
            return
        execution = Execution(job, self._handler, self._outbox)
        self._working[execution.job_id] = execution
        self._tasks[execution.job_id] = asyncio.create_task(self._execute(execution), name=f"job {execution.job_id}")

    async def _execute(self, execution: Execution) -> None:
        job_id = execution.job_id
        wanted_until = asyncio.get_running_loop().time() + execution.limits.life_s
        try:
            try:
                outcome = await execution.outcome()
            finally:
                del self._working[job_id]
                self._changed.set()
            body = outcome.body(stop_pod=False)
            await self._delivery.deliver(Result(job_id, self._addresses.done(job_id), body, wanted_until))
        except JobGone as gone:
            log.warning("job=%s is not known to the platform any more: %s", job_id, gone)
        finally:
            del self._tasks[job_id]

    async def _obey_stops(self) -> None:
        pace = PollPace(self._random)
        while True:
            answer, held_s = await self._poll(self._addresses.stop(), "job-stop")
            if answer is not None and answer.status == 200 and answer.body:
                for job_id in wire.parse_stop(answer.body):
                    self._cancel(job_id)
                pace.useful()
            else:
                await asyncio.sleep(pace.after(answer, held_s))

    def _cancel(self, job_id: str) -> None:
        if task := self._tasks.get(job_id):
            log.info("job=%s cancelled", job_id)
            task.cancel()

    async def _finish_jobs(self) -> None:
        """Let the jobs finish within the drain time, then fail the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._settings.drain_timeout_s)
        for execution in self._working.values():
            execution.end(EngineUnavailable("the worker was stopped before the job could finish; send it again"))
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=10)


async def _first_of(extra: asyncio.Future[Any], *tasks: asyncio.Task[None]) -> None:
    done, _ = await asyncio.wait([extra, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
