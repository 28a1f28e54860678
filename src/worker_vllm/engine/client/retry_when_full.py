"""Requests that the engine refuses because its queue is full are repeated: only this worker can run its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker_vllm.engine.interface import Engine, EngineRequest, EngineResponse

FULL = (429, 503)  # vLLM 0.32 responds 503 beyond max_num_queued_reqs and max_num_queued_tokens
FIRST_BACKOFF_S = 0.02
LONGEST_BACKOFF_S = 1.0
GIVE_UP_AFTER_S = 600.0


class RetryWhenFull:
    """Sends requests to `engine` and repeats them while its queue is full; after ten minutes returns the refusal.

    `on_full` is called at every refusal; `random` returns numbers in [0, 1) for the jitter.
    """

    def __init__(self, engine: Engine, on_full: Callable[[], None], random: Callable[[], float]) -> None:
        self._engine = engine
        self._on_full = on_full
        self._random = random

    async def request(self, request: EngineRequest) -> EngineResponse:
        """See `Engine.request`."""
        clock = asyncio.get_running_loop().time
        give_up = clock() + GIVE_UP_AFTER_S
        backoff_s = FIRST_BACKOFF_S
        while True:
            response = await self._engine.request(request)
            if response.status not in FULL or clock() > give_up:
                return response
            response.close()
            self._on_full()
            await asyncio.sleep(backoff_s * (0.5 + self._random()))
            backoff_s = min(LONGEST_BACKOFF_S, backoff_s * 1.5)
