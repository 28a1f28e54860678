"""Sends the first request after a start, which takes longer than later ones, before any job does."""

from __future__ import annotations

import asyncio
import json

from worker_vllm.engine.interface import Engine, EngineRequest
from worker_vllm.errors import WorkerError

TIMEOUT_S = 120.0
JSON = {"content-type": "application/json"}
# A generating model serves the first route, an embedding or classifying one the second or third.
ROUTES: tuple[tuple[str, dict[str, object]], ...] = (
    ("/v1/completions", {"prompt": "Hello", "max_tokens": 2, "temperature": 0}),
    ("/v1/embeddings", {"input": "Hello"}),
    ("/pooling", {"input": "Hello"}),
)


async def warm_up(engine: Engine, model: str) -> str:
    """Send one small request; returns the route that responded with 200, or "" when none did.

    Raises nothing: the exit of the engine is noticed elsewhere, and one that refuses may still serve real requests.
    """
    for path, body in ROUTES:
        request = EngineRequest("POST", path, json.dumps({"model": model, **body}).encode(), JSON)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await engine.request(request)
                await response.read()
        except (WorkerError, TimeoutError):
            return ""
        if response.status == 200:
            return path
    return ""
