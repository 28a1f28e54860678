"""A stand-in for a load balancer: it follows the health path of every worker and sends requests to those in the pool.

It goes to the next worker when one refuses: no connection, or 503. Everything else was accepted, and must come whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.http_mode import HttpWorker

PROBE_INTERVAL_S = 0.05
RETRY_S = 0.01
WORDS = "one two three four five six seven eight nine ten"
REQUEST = {"model": "parrot", "prompt": WORDS, "max_tokens": 30, "temperature": 0, "ignore_eos": True}


@dataclass(slots=True)
class Balancer:
    """The pool, and what became of every accepted request."""

    session: aiohttp.ClientSession
    pool: list[HttpWorker] = field(default_factory=list)
    whole: int = 0
    refused: int = 0  # and sent to another worker
    failures: list[str] = field(default_factory=list)
    _following: list[asyncio.Task[None]] = field(default_factory=list)
    _turn: int = 0

    def add(self, worker: HttpWorker) -> None:
        """Follow a worker's health path from now on."""
        self._following.append(asyncio.create_task(self._follow(worker)))

    async def until_in_pool(self, worker: HttpWorker) -> None:
        """Return when the worker gets requests."""
        while worker not in self.pool:
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def run(self, stop: asyncio.Event, number: int) -> None:
        """Send streams and plain requests in turns until `stop` is set."""
        while not stop.is_set():
            number += 1
            await self._send(stream=number % 2 == 0)

    async def close(self) -> None:
        """Follow no worker any more."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    async def _follow(self, worker: HttpWorker) -> None:
        while True:
            healthy = False
            with contextlib.suppress(OSError, EOFError):
                healthy = (await worker.get()).status == 200
            if healthy != (worker in self.pool):
                (self.pool.append if healthy else self.pool.remove)(worker)
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _send(self, *, stream: bool) -> None:
        while True:
            if not self.pool:
                await asyncio.sleep(RETRY_S)
                continue
            self._turn += 1
            worker = self.pool[self._turn % len(self.pool)]
            url = f"http://127.0.0.1:{worker.port}/v1/completions"
            try:
                async with self.session.post(url, json={**REQUEST, "stream": stream}) as answer:
                    body = await answer.read()
            except aiohttp.ClientConnectorError:
                self.refused += 1
                continue
            except (aiohttp.ClientError, OSError) as error:
                self.failures.append(f"{'stream' if stream else 'plain'}: {error!r}")
                return
            if answer.status == 503:
                self.refused += 1
                await asyncio.sleep(RETRY_S)
                continue
            self._judge(answer.status, body, stream=stream)
            return

    def _judge(self, status: int, body: bytes, *, stream: bool) -> None:
        if status == 200 and (is_whole_stream(body) if stream else is_whole_answer(json.loads(body))):
            self.whole += 1
        else:
            self.failures.append(f"{status}: {body[-300:]!r}")


def is_whole_answer(answer: Any) -> bool:
    """Whether a plain answer has all its tokens."""
    return bool(answer["usage"]["completion_tokens"] == REQUEST["max_tokens"])


def is_whole_stream(body: bytes) -> bool:
    """Whether a stream has its finish and its end."""
    return body.endswith(b"data: [DONE]\n\n") and b'"finish_reason":"length"' in body.replace(b": ", b":")


@contextlib.asynccontextmanager
async def balancer(*, keep_alive: bool) -> AsyncIterator[Balancer]:
    """A balancer that keeps its connections to workers open, or opens one for each request."""
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep_alive)
    async with aiohttp.ClientSession(connector=connector) as session:
        found = Balancer(session)
        try:
            yield found
        finally:
            await found.close()
