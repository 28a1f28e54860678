"""Posting a job's status object to the address its client gave, when the job has ended."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp

from worker_vllm.json_bytes import dump

logger = logging.getLogger(__name__)

TRIES = 3
AT_ONCE = 100
WAITING_AT_MOST = 10_000
WAITING_BYTES = 200_000_000


class Webhooks:
    """Up to three tries each, with a pause between them; a client's deaf address holds up nobody else."""

    def __init__(self, pause_s: float, *, sort_keys: bool = False, waiting_bytes: int = WAITING_BYTES) -> None:
        self._pause_s = pause_s
        self._sort_keys = sort_keys
        self._room = waiting_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    def send(self, url: str, payload: dict[str, Any]) -> None:
        """Deliver in the background; dropped, with a word in the log, when too much waits already."""
        body = dump(payload, sort_keys=self._sort_keys)
        if len(self._tasks) >= WAITING_AT_MOST or len(body) > self._room:
            logger.error("webhook of job %s dropped: %d already wait", payload["id"], len(self._tasks))
            return
        self._room -= len(body)
        task = asyncio.create_task(self._deliver(url, body, payload["id"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is still under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, url: str, body: bytes, job_id: str) -> None:
        try:
            for attempt in range(TRIES):
                if attempt:
                    await asyncio.sleep(self._pause_s)
                async with self._slots:
                    outcome = await self._post(url, body)
                if outcome == "200":
                    return
                logger.warning("webhook of job %s: try %d of %d: %s", job_id, attempt + 1, TRIES, outcome)
        finally:
            self._room += len(body)

    async def _post(self, url: str, body: bytes) -> str:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        try:
            async with self._session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                return str(answer.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
