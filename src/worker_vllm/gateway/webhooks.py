"""Posts the status object of an ended job to its client's webhook address."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import aiohttp

from worker_vllm.gateway.state.job import WebhookAttempt
from worker_vllm.json_bytes import dump

Attempted: TypeAlias = Callable[[str, WebhookAttempt], None]
logger = logging.getLogger(__name__)

TRIES = 3
MAX_CONCURRENT = 100
MAX_PENDING = 10_000
MAX_PENDING_BYTES = 200_000_000


class Webhooks:
    """Delivers each webhook in a task of its own, with up to three attempts and a pause between them."""

    def __init__(
        self, pause_s: float, *, sort_keys: bool = False, max_pending_bytes: int = MAX_PENDING_BYTES
    ) -> None:
        self._pause_s = pause_s
        self._sort_keys = sort_keys
        self._room = max_pending_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._session: aiohttp.ClientSession | None = None

    def send(self, url: str, payload: dict[str, Any], attempted: Attempted) -> None:
        """Deliver in the background, and call `attempted` with the job's id after each try.

        Logs it and sends nothing when too many or too large ones are pending: attempt number 0.
        """
        body = dump(payload, sort_keys=self._sort_keys)
        if len(self._tasks) >= MAX_PENDING or len(body) > self._room:
            why = f"no room: {len(self._tasks)} webhooks are pending"
            logger.error("webhook of job %s not sent: %s", payload["id"], why)
            attempted(payload["id"], WebhookAttempt(0, TRIES, why))
            return
        self._room -= len(body)
        task = asyncio.create_task(self._deliver(url, body, payload["id"], attempted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel pending deliveries."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, url: str, body: bytes, job_id: str, attempted: Attempted) -> None:
        try:
            for number in range(1, TRIES + 1):
                if number > 1:
                    await asyncio.sleep(self._pause_s)
                async with self._slots:
                    attempt = WebhookAttempt(number, TRIES, await self._post(url, body))
                if not attempt.delivered:
                    logger.warning("webhook of job %s: attempt %d of %d: %s", job_id, number, TRIES, attempt.answer)
                attempted(job_id, attempt)
                if attempt.last:
                    return
        finally:
            self._room += len(body)

    async def _post(self, url: str, body: bytes) -> str:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        try:
            async with self._session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                return str(answer.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return _reason(error)


def _reason(error: Exception) -> str:
    """Why there was no answer; without the address, which may hold a secret."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{type(error).__name__}: {error.os_error.strerror or 'no connection'}"
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
