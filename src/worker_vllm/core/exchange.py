"""Questions to the engine: an error status becomes the matching exception, a full engine is asked again for a while,
and an answer is closed whatever happens, which is what cancels it inside the engine.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from worker_vllm.engine.base import Engine, EngineRequest, EngineResponse
from worker_vllm.errors import EngineError, Overloaded
from worker_vllm.jobs.answers import error_of
from worker_vllm.jobs.ask import Ask


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a job waits for a full engine (HTTP 429 or 503), asking again ever more seldom."""

    total_s: float = 30.0
    first_s: float = 0.1
    longest_s: float = 2.0
    random: Callable[[], float] = random.random

    def pauses_s(self) -> list[float]:
        """The pauses between the attempts; half of each is left to chance, so that jobs do not come in step."""
        pauses, pause, left = [], self.first_s, self.total_s
        while left > 0:
            pauses.append(min(left, pause * (0.5 + 0.5 * self.random())))
            left -= pause
            pause = min(pause * 2, self.longest_s)
        return pauses


class Exchange:
    """Asks `engine`."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self._engine = engine
        self._patience = patience

    @asynccontextmanager
    async def open(self, ask: Ask) -> AsyncIterator[EngineResponse]:
        """The engine's good answer. Raises what its error means, or EngineUnavailable."""
        response = await self._patiently(ask)
        try:
            yield response
        finally:
            response.close()

    async def value(self, ask: Ask) -> dict[str, Any]:
        """The engine's good answer as a JSON object."""
        async with self.open(ask) as response:
            body = await response.read()
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise EngineError(f"{ask.path}: expected a JSON object from the engine, got {body[:80]!r}")
        return value

    async def _patiently(self, ask: Ask) -> EngineResponse:
        pauses: list[float] | None = None
        while True:
            try:
                return await self._ask(ask)
            except Overloaded:
                pauses = self._patience.pauses_s() if pauses is None else pauses
                if not pauses:
                    raise
            await asyncio.sleep(pauses.pop(0))

    async def _ask(self, ask: Ask) -> EngineResponse:
        headers = {"Content-Type": ask.content_type} if ask.body is not None else {}
        response = await self._engine.request(EngineRequest(ask.method, ask.path, ask.body, headers))
        if response.status < 400:
            return response
        try:
            raise error_of(response.status, await response.read())
        finally:
            response.close()
