"""An engine that another process started: READY from the first moment, never relaunched, only disconnected."""

from __future__ import annotations

import asyncio

from worker_vllm.engine.interface import EngineFailure, EngineRequest, EngineResponse, EngineState
from worker_vllm.engine.supervision.engine_run import EngineConnection


class AttachedEngine:
    """The counterpart of `Supervisor` for ENGINE_URL: owns only the connection; errors of requests stay as is."""

    def __init__(self, connection: EngineConnection) -> None:
        self._connection = connection
        self._stopped = asyncio.Event()

    @property
    def state(self) -> EngineState:
        """READY until `stop`: whether the server works is seen by each request."""
        return EngineState.STOPPED if self._stopped.is_set() else EngineState.READY

    @property
    def failure(self) -> EngineFailure | None:
        """Always None: the server belongs to another process, so no cause is known."""
        return None

    async def run(self) -> None:
        """Keep the connection until `stop`, then close it."""
        try:
            await self._stopped.wait()
        finally:
            await self._connection.aclose()

    async def stop(self) -> None:
        """Have `run` close the connection; the server goes on."""
        self._stopped.set()

    async def changed(self) -> EngineState:
        """Wait for the only change, to STOPPED."""
        await self._stopped.wait()
        return self.state

    async def wait_until_decided(self) -> EngineState:
        """Return the state at once."""
        return self.state

    async def request(self, request: EngineRequest) -> EngineResponse:
        """See `Engine.request`."""
        return await self._connection.request(request)
