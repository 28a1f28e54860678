"""The final result of a job: idempotent, so it is sent again until it is accepted or the job's life is over."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from worker_vllm.errors import RequestError
from worker_vllm.serverless import wire
from worker_vllm.serverless.exchange import NoAnswer, NotSent
from worker_vllm.serverless.pace import BROKEN, is_refused_for_now, retry_after_s
from worker_vllm.serverless.platform import Platform

log = logging.getLogger(__name__)

POST_TIMEOUT_S = 120.0
LARGE_BYTES = 1_000_000  # a smaller result is not refused for its size


@dataclass(frozen=True, slots=True)
class Result:
    """What a job ends with: where it goes, the body, and until when (event loop time) anybody may want it."""

    job_id: str
    url: str
    body: bytes
    wanted_until: float

    def __str__(self) -> str:
        digest = hashlib.sha256(self.body).hexdigest()[:16]
        return f"job={self.job_id} bytes={len(self.body)} sha256={digest}"


class Delivery:
    """Delivers final results; `random` spreads the retries."""

    def __init__(self, platform: Platform, random: Callable[[], float]) -> None:
        self._platform = platform
        self._random = random

    async def deliver(self, result: Result) -> None:
        """Return once the platform has accepted the result or will never want it."""
        loop = asyncio.get_running_loop()
        failures = 0
        while loop.time() < result.wanted_until:
            pause_s = 0.0
            try:
                answer = await self._platform.post(result.url, result.body, POST_TIMEOUT_S)
                if answer.status < 300:
                    return
                if not is_refused_for_now(answer.status):
                    return await self._refused(result, answer.status)
                pause_s, reason = retry_after_s(answer), f"HTTP {answer.status}"
            except (NotSent, NoAnswer) as error:
                reason = str(error)
            failures += 1
            log.warning("result not accepted, sending again: %s attempts=%d reason=%s", result, failures, reason)
            await asyncio.sleep(max(pause_s, BROKEN.delay_s(failures) * (0.5 + 0.5 * self._random())))
        log.error("result given up, the job's time is over: %s", result)

    async def _refused(self, result: Result, status: int) -> None:
        if status in (400, 413) and len(result.body) > LARGE_BYTES:
            log.error("result refused for its size, failing the job instead: %s status=%d", result, status)
            return await self.deliver(too_large(result, status))
        log.error("result refused for good: %s status=%d", result, status)


def too_large(result: Result, status: int) -> Result:
    """The small FAILED result that takes the place of one that the platform refused for its size."""
    error = RequestError(
        f"the result of {len(result.body)} bytes was refused by the platform with HTTP {status}: expected at most "
        "20 MB in all; ask for fewer tokens, fewer choices or fewer logprobs",
        status=413,
    )
    return Result(result.job_id, result.url, wire.failed_body(error.to_json()), result.wanted_until)
