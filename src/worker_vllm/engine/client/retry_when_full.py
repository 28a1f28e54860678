"""An engine whose queue is full is asked again here: the job was taken, so nobody else can run it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker_vllm.engine.interface import Engine, EngineRequest, EngineResponse

FULL = (429, 503)  # vLLM 0.32 answers 503 beyond max_num_queued_reqs and max_num_queued_tokens
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
PATIENCE_S = 600.0


class RetryWhenFull:
    """Answers as `engine` does, except that a full queue is waited for; after ten minutes its refusal is the answer.

    `on_full` hears of every refusal; `random` gives numbers in [0, 1) that spread the repeats.
    """

    def __init__(self, engine: Engine, on_full: Callable[[], None], random: Callable[[], float]) -> None:
        self._engine = engine
        self._on_full = on_full
        self._random = random

    async def request(self, request: EngineRequest) -> EngineResponse:
        """See `Engine.request`."""
        clock = asyncio.get_running_loop().time
        give_up = clock() + PATIENCE_S
        pause_s = FIRST_PAUSE_S
        while True:
            response = await self._engine.request(request)
            if response.status not in FULL or clock() > give_up:
                return response
            response.close()
            self._on_full()
            await asyncio.sleep(pause_s * (0.5 + self._random()))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)
