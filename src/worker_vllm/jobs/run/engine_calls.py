"""Questions to the engine: an error status becomes the matching exception, and an answer is closed whatever happens,
which is what cancels it inside the engine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from worker_vllm.engine.interface import Engine, EngineRequest, EngineResponse
from worker_vllm.errors import EngineError, RequestError
from worker_vllm.jobs.output.engine_answers import error_of
from worker_vllm.jobs.output.size_limits import RESULT_BYTES
from worker_vllm.jobs.request.engine_request import Ask

ERROR_BYTES = 1_000_000


class EngineCalls:
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

    async def value(self, ask: Ask, limit: int = RESULT_BYTES) -> dict[str, Any]:
        """The engine's good answer as a JSON object. Raises RequestError (413) when it is larger than `limit`."""
        async with self.open(ask) as response:
            body = await read_whole(response, limit)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
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
            raise error_of(response.status, await read_start(response, ERROR_BYTES))
        finally:
            response.close()


async def read_whole(response: EngineResponse, limit: int = RESULT_BYTES) -> bytes:
    """The whole body. Raises RequestError (413) as soon as it has more than `limit` bytes; the rest is not read."""
    said = response.headers.get("content-length", "")
    body = b"" if said.isdigit() and int(said) > limit else await read_start(response, limit)
    if len(body) > limit or (said.isdigit() and int(said) > limit):
        raise RequestError(
            f"the engine's answer is larger than {limit} bytes, what the platform takes as a job's result: ask for "
            "fewer tokens, sequences, inputs or log-probabilities, split the request, or stream it",
            status=413,
        )
    return body


async def read_start(response: EngineResponse, limit: int) -> bytes:
    """The body as far as the piece that takes it beyond `limit` bytes; the rest is not read."""
    pieces, size = [], 0
    async for piece in response.chunks():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            break
    return b"".join(pieces)
