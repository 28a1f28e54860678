"""Questions to the engine: an error status becomes the matching exception, and an answer is closed whatever happens,
which is what cancels it inside the engine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from worker_vllm.engine.base import Engine, EngineRequest, EngineResponse
from worker_vllm.errors import EngineError
from worker_vllm.jobs.answers import error_of
from worker_vllm.jobs.ask import Ask


class Exchange:
    """Asks `engine`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def open(self, ask: Ask) -> AsyncIterator[EngineResponse]:
        """The engine's good answer. Raises what its error means, or EngineUnavailable."""
        response = await self._ask(ask)
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

    async def _ask(self, ask: Ask) -> EngineResponse:
        headers = {"Content-Type": ask.content_type} if ask.body is not None else {}
        response = await self._engine.request(EngineRequest(ask.method, ask.path, ask.body, headers))
        if response.status < 400:
            return response
        try:
            raise error_of(response.status, await response.read())
        finally:
            response.close()
