"""A supervisor over a spawned engine, for the length of a test."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from worker_vllm.engine.base import EngineRequest, EngineResponse
from worker_vllm.engine.beginning import Beginning
from worker_vllm.engine.client import HttpEngine
from worker_vllm.engine.supervisor import State, Supervisor
from worker_vllm.settings.model import EngineKind, EngineSettings

ECHO = EngineSettings(kind=EngineKind.ECHO, model="parrot", served_names=("parrot",))


class Supervised:
    """A running supervisor, and what it went through."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.states: list[State] = []
        self.running = asyncio.create_task(supervisor.run())
        self.following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            self.states.append(await self.supervisor.changed())

    async def post(self, path: str, body: bytes = b"{}") -> EngineResponse:
        """One request through the supervisor."""
        return await self.supervisor.request(EngineRequest("POST", path, body, {"content-type": "application/json"}))

    async def until(self, *states: State) -> State:
        """Wait for one of the states."""
        return await self.supervisor.until(*states)


@contextlib.asynccontextmanager
async def supervised(
    settings: EngineSettings = ECHO, environment: dict[str, str] | None = None, **changes: Any
) -> AsyncIterator[Supervised]:
    """A supervisor that starts its engine; both have ended when the context ends."""
    beginning = Beginning(replace(settings, **changes), {**os.environ, **(environment or {})})
    supervisor = Supervisor(beginning, HttpEngine)
    run = Supervised(supervisor)
    try:
        yield run
    finally:
        await supervisor.stop()
        await run.running
        run.following.cancel()
        await asyncio.wait([run.following])
