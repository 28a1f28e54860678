"""The final result of a job: idempotent, so it is sent again until it is accepted or the job's life is over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.result_spool import JobResult, ResultSpool
from worker_vllm.serverless.delivery.spool_ownership import BEAT_S
from worker_vllm.serverless.http.address import BadAddress, target_of
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.intake.backoff import BROKEN, Curve, may_succeed_later, retry_after_s

log = logging.getLogger(__name__)

POST_TIMEOUT_S = 120.0
SPOOL_AFTER_S = 1.0
LARGE_BYTES = 1_000_000  # a smaller result is not refused for its size
LEFT_AT_ONCE = 16  # POSTs of earlier processes' results on their way
LEFT = Curve(first_s=0.2, most_s=30.0)
NOT_KNOWN = (404, 410)  # the platform has forgotten the job, so nobody waits for its result
NO_POST_HERE = (404, 405, 501)


@dataclass(slots=True)
class _Matter:
    """A result on its way: what is posted, how often that failed, and whether it stands in for a refused one.

    `asked_s` is the pause that the platform asked for.
    """

    result: JobResult
    failures: int = 0
    asked_s: float = 0.0
    replaced: bool = False


class ResultSender:
    """Delivers final results. One that is not accepted within a second is spooled until it is.

    `held_bytes` is the size of all results that are in memory.
    """

    def __init__(self, platform: Platform, spool: ResultSpool | None, random: Callable[[], float]) -> None:
        self.held_bytes = 0
        self._platform = platform
        self._spool = spool
        self._random = random

    async def deliver(self, result: JobResult) -> None:
        """Return once the platform has accepted the result or will never want it.

        A result that is slow to be accepted is spooled meanwhile; when this is cancelled, call `keep` or `forget`.
        """
        loop = asyncio.get_running_loop()
        keeping: list[asyncio.Future[bool]] = []
        self.held_bytes += len(result.body)
        timer = None
        if self._spool is not None:
            timer = loop.call_later(
                SPOOL_AFTER_S, lambda hold: keeping.append(loop.run_in_executor(None, hold, result)), self._spool.hold
            )
        try:
            matter = _Matter(result)
            while not await self._is_settled(matter):
                await self._pause(matter, BROKEN)
        finally:
            self.held_bytes -= len(result.body)
            if timer is not None:
                timer.cancel()
            if keeping:
                await asyncio.shield(keeping[0])
        if keeping and self._spool is not None:
            await asyncio.to_thread(self._spool.forget, result.job_id)

    def keep(self, result: JobResult) -> None:
        """This process ends: leave the result to the next one."""
        if self._spool is None or not self._spool.keep(result):
            log.error("result lost, there is nowhere to keep it: %s", result)
        else:
            log.warning("result kept for the next start: %s", result)

    def forget(self, job_id: str) -> None:
        """The job was cancelled: whatever is spooled of it is not wanted any more."""
        if self._spool is not None:
            self._spool.forget(job_id)

    async def deliver_left(self, done_url: str) -> None:
        """Deliver, for ever, what dead processes could not, to this endpoint alone: the key goes with it.

        They go side by side; one that is not accepted holds up no other.
        """
        if self._spool is None:
            return
        slots = asyncio.Semaphore(LEFT_AT_ONCE)
        endpoint = done_url.partition("/job-done/")[0]
        try:
            async with asyncio.TaskGroup() as deliveries:
                while True:
                    for path in await asyncio.to_thread(self._spool.claim, endpoint):
                        deliveries.create_task(self._deliver_left(self._spool, path, slots))
                    await asyncio.sleep(BEAT_S)
        finally:
            self._spool.release()

    async def _deliver_left(self, spool: ResultSpool, path: Path, slots: asyncio.Semaphore) -> None:
        """The body is in memory only while it is posted."""
        matter: _Matter | None = None
        while True:
            async with slots:
                result = matter.result if matter and matter.replaced else await asyncio.to_thread(spool.read, path)
                if result is None:
                    return
                if matter is None:
                    log.info("delivering a result of an earlier process: %s", result)
                    matter = _Matter(result)
                matter.result = result
                self.held_bytes += len(result.body)
                try:
                    settled = await self._is_settled(matter)
                finally:
                    self.held_bytes -= len(result.body)
                if settled:
                    await asyncio.to_thread(spool.forget, result.job_id)
                    return
                if not matter.replaced:
                    matter.result = JobResult(result.job_id, result.url, b"", result.wanted_until)
                del result
            await self._pause(matter, LEFT)

    async def _pause(self, matter: _Matter, curve: Curve) -> None:
        if matter.failures:
            pause_s = curve.delay_s(matter.failures) * (0.5 + 0.5 * self._random())
            await asyncio.sleep(max(pause_s, matter.asked_s))

    async def _is_settled(self, matter: _Matter) -> bool:
        """Post once; whether nothing more is to be done."""
        result = matter.result
        try:
            answer = await self._post(result)
        except (NotSent, NoAnswer) as error:
            log.debug("result not accepted, to be sent again: %s reason=%s", result, error)
            return self._count_failure(matter)
        if answer.status < 300:
            end = "FAILED" if result.body.startswith(b'{"error"') else "COMPLETED"
            log.info("job=%s delivered, %s, bytes=%d", result.job_id, end, len(result.body))
            return True
        if may_succeed_later(answer.status):
            log.debug("result not accepted, to be sent again: %s status=%d", result, answer.status)
            return self._count_failure(matter, retry_after_s(answer))
        if answer.status in NOT_KNOWN or matter.replaced:
            log.error("result refused for good: %s status=%d", result, answer.status)
            return True
        log.error("result refused, failing the job instead: %s status=%d", result, answer.status)
        matter.result, matter.replaced, matter.failures = refused(result, answer.status), True, 0
        return False

    def _count_failure(self, matter: _Matter, asked_s: float = 0.0) -> bool:
        """Whether it was the last one."""
        matter.failures += 1
        matter.asked_s = asked_s
        if time.time() > matter.result.wanted_until:
            log.error("result given up, the job's time is over: %s", matter.result)
            return True
        return False

    async def _post(self, result: JobResult) -> PlatformAnswer:
        """303 says "processed, look there". A platform that means "send it there" is served too."""
        answer = await self._platform.post(result.url, result.body, POST_TIMEOUT_S)
        location = answer.header("location") if answer.status == 303 else None
        if location is None:
            return answer
        try:
            here = target_of(result.url)
            there = here.onward(location)
        except BadAddress:
            return answer
        if there.origin != here.origin:  # the key goes to nobody else, and the platform has said that it is processed
            log.warning("job=%s delivered, as HTTP 303 to %s says; not sent there", result.job_id, there.origin.place)
            return PlatformAnswer(200)
        answer = await self._platform.post(there.url, result.body, POST_TIMEOUT_S)
        return PlatformAnswer(200) if answer.status in NO_POST_HERE else answer


def refused(result: JobResult, status: int) -> JobResult:
    """The small FAILED result that takes the place of one that the platform refused for good."""
    size = len(result.body)
    error: WorkerError
    if status == 413 or (status == 400 and size > LARGE_BYTES):
        error = RequestError(
            f"the result of {size} bytes was refused by the platform with HTTP {status}: expected at most "
            "20 MB in all; ask for fewer tokens, fewer choices or fewer logprobs",
            status=413,
        )
    else:
        error = WorkerError(
            f"the result of {size} bytes was refused by the platform with HTTP {status}, which says that it would "
            "be refused again: it is lost; the worker's log has its size and hash",
            status=502,
        )
    stop_pod = result.body.endswith(b',"stopPod":true}')
    return JobResult(
        result.job_id, result.url, protocol.failed_body(error.to_json(), stop_pod=stop_pod), result.wanted_until
    )
