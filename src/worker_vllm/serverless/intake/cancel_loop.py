"""Receives cancellations: polls the platform for the ids of cancelled jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from worker_vllm.serverless import protocol
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.intake.backoff import ExponentialBackoff, PollBackoff
from worker_vllm.serverless.intake.long_poll import poll

log = logging.getLogger(__name__)

STOP_POLL_BACKOFF = ExponentialBackoff(first_s=0.01, max_s=0.25, factor=1.5)
EARLY_STOP_S = 5.0  # a stop may arrive this long before the take that returns its job
MAX_EARLY_STOPS = 10_000


class CancelLoop:
    """Polls for cancelled jobs and cancels those that are here. Remembers ids of jobs that have not arrived yet."""

    def __init__(self, platform: Platform, addresses: protocol.Addresses, cancel: Callable[[str], bool]) -> None:
        self._platform = platform
        self._addresses = addresses
        self._cancel = cancel
        self._early: dict[str, float] = {}
        self._job_arrived = asyncio.Event()

    def is_already_cancelled(self, job_id: str) -> bool:
        """Whether a job that was just taken has been cancelled. Called for every job that is taken."""
        self._job_arrived.set()
        stopped_at = self._early.pop(job_id, None)
        return stopped_at is not None and asyncio.get_running_loop().time() - stopped_at < EARLY_STOP_S

    async def run(self, backoff: PollBackoff, has_jobs: Callable[[], bool]) -> None:
        """Poll until cancelled. A platform that answers at once is not polled while this worker has no job."""
        while True:
            self._job_arrived.clear()
            polled = await poll(self._platform, self._addresses.stop(), "job-stop")
            ids = _ids(polled.body)
            for job_id in ids:
                if not self._cancel(job_id):
                    self._remember(job_id)
            if ids:
                backoff.reset()
            elif pause_s := backoff.after(polled.answer, polled.held_s):
                if not has_jobs():
                    await self._job_arrived.wait()
                await asyncio.sleep(pause_s)

    def _remember(self, job_id: str) -> None:
        now = asyncio.get_running_loop().time()
        self._early[job_id] = now
        while len(self._early) > MAX_EARLY_STOPS or now - next(iter(self._early.values())) > EARLY_STOP_S:
            del self._early[next(iter(self._early))]


def _ids(body: bytes) -> list[str]:
    if not body:
        return []
    try:
        return protocol.parse_stop(body)
    except protocol.ProtocolError as error:
        log.error("job-stop: %s", error)
        return []
