"""The engine's present state, with a wait for changes of it."""

from __future__ import annotations

import asyncio

from worker_vllm.engine.interface import EngineState


class StateChanges:
    """Holds one state. `enter` changes it and wakes everyone who waits for a change."""

    def __init__(self, state: EngineState) -> None:
        self.current = state
        self._changed = asyncio.Event()

    def enter(self, state: EngineState) -> None:
        """Change the state; entering the present one changes nothing and wakes nobody."""
        if state is not self.current:
            self.current = state
            self._changed.set()
            self._changed = asyncio.Event()

    async def changed(self) -> EngineState:
        """Wait for the next change; returns the new state."""
        await self._changed.wait()
        return self.current

    async def until(self, *states: EngineState) -> EngineState:
        """Wait until the state is one of these; returns it."""
        while self.current not in states:
            await self._changed.wait()
        return self.current
