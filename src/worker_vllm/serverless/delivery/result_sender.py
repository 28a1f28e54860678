"""Delivers final results. Posting one is idempotent: it is repeated until it is accepted or the job's ttl is over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.observability import metric_names as names
from worker_vllm.observability.job_record import current_record
from worker_vllm.observability.logging import current_job
from worker_vllm.observability.metric_names import Metric
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.result_spool import JobResult, ResultSpool
from worker_vllm.serverless.delivery.spool_ownership import TOUCH_INTERVAL_S
from worker_vllm.serverless.http.address import BadAddress, parse_target
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.intake.backoff import (
    FAILURE_BACKOFF,
    ExponentialBackoff,
    may_succeed_later,
    retry_after_s,
)

log = logging.getLogger(__name__)

POST_TIMEOUT_S = 120.0
SPOOL_AFTER_S = 1.0
LARGE_BYTES = 1_000_000  # a smaller result is not refused for its size
MAX_SPOOLED_IN_FLIGHT = 16  # POSTs of earlier processes' results
SPOOLED_BACKOFF = ExponentialBackoff(first_s=0.2, max_s=30.0)
JOB_UNKNOWN = (404, 410)  # the platform has deleted the job
POST_UNSUPPORTED = (404, 405, 501)


@dataclass(slots=True)
class _PendingResult:
    """A result that is not accepted yet, the failed attempts so far, and whether it replaces a refused result.

    `retry_after_s` is the pause that the platform asked for.
    """

    result: JobResult
    failures: int = 0
    retry_after_s: float = 0.0
    replaced: bool = False


class ResultSender:
    """Delivers final results. A result that is not accepted within a second is spooled until it is.

    `pending_bytes` is the size of all results in memory; `random` returns numbers in [0, 1).
    """

    def __init__(self, platform: Platform, spool: ResultSpool | None, random: Callable[[], float]) -> None:
        self.pending_bytes = 0
        self._platform = platform
        self._spool = spool
        self._random = random

    async def deliver(self, result: JobResult) -> None:
        """Return once the platform has accepted the result or has refused it for good.

        A result that is not accepted soon is spooled meanwhile. When this is cancelled, call `spool` or `discard`.
        """
        loop = asyncio.get_running_loop()
        spooling: list[asyncio.Future[bool]] = []
        self.pending_bytes += result.size
        timer = None
        if self._spool is not None:
            timer = loop.call_later(
                SPOOL_AFTER_S,
                lambda save: spooling.append(loop.run_in_executor(None, save, result)),
                self._spool.save_owned,
            )
        try:
            pending = _PendingResult(result)
            while not await self._post_once(pending):
                await self._pause(pending, FAILURE_BACKOFF)
        finally:
            self.pending_bytes -= result.size
            if timer is not None:
                timer.cancel()
            if spooling:
                await asyncio.shield(spooling[0])
        if spooling and self._spool is not None:
            await asyncio.to_thread(self._spool.remove, result.job_id)

    def gauges(self) -> dict[Metric, Callable[[], float]]:
        """The size of the results in memory."""
        return {names.RESULTS_BYTES: lambda: self.pending_bytes}

    def spool(self, result: JobResult) -> None:
        """Save an undelivered result for the next process. Called when this process ends."""
        if self._spool is None or not self._spool.save_shared(result):
            log.error("result lost, there is nowhere to keep it: %s", result)
        else:
            log.warning("result kept for the next start: %s", result)

    def discard(self, job_id: str) -> None:
        """Remove a cancelled job's result from the spool."""
        if self._spool is not None:
            self._spool.remove(job_id)

    async def deliver_spooled(self, done_url: str) -> None:
        """Deliver the results that ended processes left in the spool, until cancelled.

        Only results of this endpoint are posted, since the API key is sent with each. They are posted concurrently:
        one that is not accepted delays no other.
        """
        if self._spool is None:
            return
        slots = asyncio.Semaphore(MAX_SPOOLED_IN_FLIGHT)
        endpoint = done_url.partition("/job-done/")[0]
        try:
            async with asyncio.TaskGroup() as deliveries:
                while True:
                    for path in await asyncio.to_thread(self._spool.claim, endpoint):
                        deliveries.create_task(self._deliver_spooled(self._spool, path, slots))
                    await asyncio.sleep(TOUCH_INTERVAL_S)
        finally:
            self._spool.release()

    async def _deliver_spooled(self, spool: ResultSpool, path: Path, slots: asyncio.Semaphore) -> None:
        """Deliver one spooled result. Its body is in memory only while it is posted."""
        pending: _PendingResult | None = None
        while True:
            async with slots:
                result = pending.result if pending and pending.replaced else await asyncio.to_thread(spool.read, path)
                if result is None:
                    return
                if pending is None:
                    current_job.set(result.job_id)
                    log.info("delivering a result of an earlier process: %s", result)
                    pending = _PendingResult(result)
                pending.result = result
                self.pending_bytes += result.size
                try:
                    over = await self._post_once(pending)
                finally:
                    self.pending_bytes -= result.size
                if over:
                    await asyncio.to_thread(spool.remove, result.job_id)
                    return
                if not pending.replaced:
                    pending.result = JobResult(result.job_id, result.url, (), result.wanted_until)
                del result
            await self._pause(pending, SPOOLED_BACKOFF)

    async def _pause(self, pending: _PendingResult, curve: ExponentialBackoff) -> None:
        if pending.failures:
            pause_s = curve.delay_s(pending.failures) * (0.5 + 0.5 * self._random())
            await asyncio.sleep(max(pause_s, pending.retry_after_s))

    async def _post_once(self, pending: _PendingResult) -> bool:
        """Post once. Returns whether delivery is over: accepted, refused for good, or out of time."""
        result = pending.result
        if (record := current_record.get()) is not None:
            record.count_post("done", result.size, repeated=pending.failures > 0)
        try:
            answer = await self._post(result)
        except (NotSent, NoAnswer) as error:
            log.debug("result not accepted, to be sent again: %s reason=%s", result, error)
            return self._count_failure(pending)
        if answer.status < 300:
            status = "FAILED" if result.body[0].startswith(protocol.FAILED) else "COMPLETED"
            log.debug("job=%s delivered, %s, bytes=%d", result.job_id, status, result.size)
            return True
        if may_succeed_later(answer.status):
            log.debug("result not accepted, to be sent again: %s status=%d", result, answer.status)
            return self._count_failure(pending, retry_after_s(answer))
        if answer.status in JOB_UNKNOWN or pending.replaced:
            log.error("result refused for good: %s status=%d", result, answer.status)
            return True
        log.error("result refused, failing the job instead: %s status=%d", result, answer.status)
        pending.result, pending.replaced, pending.failures = refused_result(result, answer.status), True, 0
        return False

    def _count_failure(self, pending: _PendingResult, retry_after_s: float = 0.0) -> bool:
        """Record a failed attempt. Returns whether it was the last one."""
        pending.failures += 1
        pending.retry_after_s = retry_after_s
        if time.time() > pending.result.wanted_until:
            log.error("result given up, the job's ttl is over: %s", pending.result)
            return True
        return False

    async def _post(self, result: JobResult) -> PlatformAnswer:
        """Post once and follow a 303.

        303 means that the result was processed and that the answer is elsewhere. Some platforms mean that the result
        belongs there, so it is posted there too, on the same origin only.
        """
        answer = await self._platform.post(result.url, result.body, POST_TIMEOUT_S)
        location = answer.header("location") if answer.status == 303 else None
        if location is None:
            return answer
        try:
            here = parse_target(result.url)
            there = here.redirected_to(location)
        except BadAddress:
            return answer
        if there.origin != here.origin:  # the API key stays with its origin; 303 means processed
            log.warning(
                "job=%s delivered: HTTP 303 to %s, which is another origin, so it was not posted there",
                result.job_id,
                there.origin.host_port,
            )
            return PlatformAnswer(200)
        answer = await self._platform.post(there.url, result.body, POST_TIMEOUT_S)
        return PlatformAnswer(200) if answer.status in POST_UNSUPPORTED else answer


def refused_result(result: JobResult, status: int) -> JobResult:
    """The small FAILED result that replaces one that the platform refused for good."""
    size = result.size
    error: WorkerError
    if status == 413 or (status == 400 and size > LARGE_BYTES):
        error = RequestError(
            f"the result of {size} bytes was refused by the platform with HTTP {status}: expected at most "
            "20 MB in all; ask for fewer tokens, fewer choices or fewer logprobs",
            status=413,
        )
    else:
        error = WorkerError(
            f"the result of {size} bytes was refused by the platform with HTTP {status}: expected a status "
            "below 300; the result is lost, the worker's log has its size and hash",
            status=502,
        )
    stop_pod = result.body[-1].endswith(b',"stopPod":true}')
    return JobResult(
        result.job_id, result.url, protocol.failed_body(error.to_json(), stop_pod=stop_pod), result.wanted_until
    )
