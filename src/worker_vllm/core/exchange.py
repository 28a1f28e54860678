"""One question to the engine: an error status becomes the matching exception, and the answer is closed whatever
happens, which is what cancels it inside the engine.
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


@asynccontextmanager
async def answered(engine: Engine, ask: Ask) -> AsyncIterator[EngineResponse]:
    """The engine's good answer. Raises what its error means, or EngineUnavailable."""
    headers = {"Content-Type": ask.content_type} if ask.body is not None else {}
    response = await engine.request(EngineRequest(ask.method, ask.path, ask.body, headers))
    try:
        if response.status >= 400:
            raise error_of(response.status, await response.read())
        yield response
    finally:
        response.close()


async def answer_json(engine: Engine, ask: Ask) -> dict[str, Any]:
    """The engine's good answer as a JSON object."""
    async with answered(engine, ask) as response:
        body = await response.read()
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise EngineError(f"{ask.path}: expected a JSON object from the engine, got {body[:80]!r}")
    return value
