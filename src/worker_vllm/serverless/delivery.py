"""The final result of a job: idempotent, so it is sent again until it is accepted or the job's life is over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from worker_vllm.errors import RequestError
from worker_vllm.serverless import wire
from worker_vllm.serverless.exchange import NoAnswer, NotSent
from worker_vllm.serverless.pace import BROKEN, is_refused_for_now, retry_after_s
from worker_vllm.serverless.platform import Platform
from worker_vllm.serverless.spool import Result, Spool

log = logging.getLogger(__name__)

POST_TIMEOUT_S = 120.0
SPOOL_AFTER_S = 1.0
LARGE_BYTES = 1_000_000  # a smaller result is not refused for its size


class Delivery:
    """Delivers final results. One that is not accepted within a second is spooled until it is.

    `held_bytes` is the size of all results that are still here.
    """

    def __init__(self, platform: Platform, spool: Spool | None, random: Callable[[], float]) -> None:
        self.held_bytes = 0
        self._platform = platform
        self._spool = spool
        self._random = random

    async def deliver(self, result: Result) -> None:
        """Return once the platform has accepted the result or will never want it.

        A result that is slow to be accepted is spooled meanwhile; when this is cancelled, call `keep` or `forget`.
        """
        loop = asyncio.get_running_loop()
        keeping: list[asyncio.Future[bool]] = []
        self.held_bytes += len(result.body)
        timer = None
        if self._spool is not None:
            timer = loop.call_later(
                SPOOL_AFTER_S, lambda keep: keeping.append(loop.run_in_executor(None, keep, result)), self._spool.keep
            )
        try:
            await self._insist(result)
        finally:
            self.held_bytes -= len(result.body)
            if timer is not None:
                timer.cancel()
            if keeping:
                await asyncio.shield(keeping[0])
        if keeping and self._spool is not None:
            await asyncio.to_thread(self._spool.forget, result.job_id)

    def keep(self, result: Result) -> None:
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
        """Deliver what earlier processes could not, to this endpoint's own address only: the key goes with it."""
        if self._spool is None:
            return
        for result in await asyncio.to_thread(lambda spool: list(spool.left()), self._spool):
            if _endpoint(result.url) != _endpoint(done_url):
                log.warning("spooled result left alone, it belongs to another endpoint: %s", result)
                continue
            log.info("delivering a result of an earlier process: %s", result)
            await self._insist(result)
            await asyncio.to_thread(self._spool.forget, result.job_id)

    async def _insist(self, result: Result) -> None:
        failures = 0
        while not await self._attempt(result, failures):
            failures += 1
            if time.time() > result.wanted_until:
                log.error("result given up, the job's time is over: %s", result)
                return

    async def _attempt(self, result: Result, failures: int) -> bool:
        """Post once, after a pause if it failed before; whether the matter is settled."""
        if failures:
            await asyncio.sleep(BROKEN.delay_s(failures) * (0.5 + 0.5 * self._random()))
        try:
            answer = await self._platform.post(result.url, result.body, POST_TIMEOUT_S)
        except (NotSent, NoAnswer) as error:
            log.warning("result not accepted, to be sent again: %s reason=%s", result, error)
            return False
        if answer.status < 300:
            return True
        if is_refused_for_now(answer.status):
            log.warning("result not accepted, to be sent again: %s status=%d", result, answer.status)
            await asyncio.sleep(retry_after_s(answer))
            return False
        await self._refused(result, answer.status)
        return True

    async def _refused(self, result: Result, status: int) -> None:
        if status in (400, 413) and len(result.body) > LARGE_BYTES:
            log.error("result refused for its size, failing the job instead: %s status=%d", result, status)
            await self._insist(too_large(result, status))
        else:
            log.error("result refused for good: %s status=%d", result, status)


def _endpoint(done_url: str) -> str:
    return done_url.partition("/job-done/")[0]


def too_large(result: Result, status: int) -> Result:
    """The small FAILED result that takes the place of one that the platform refused for its size."""
    error = RequestError(
        f"the result of {len(result.body)} bytes was refused by the platform with HTTP {status}: expected at most "
        "20 MB in all; ask for fewer tokens, fewer choices or fewer logprobs",
        status=413,
    )
    return Result(result.job_id, result.url, wire.failed_body(error.to_json()), result.wanted_until)
