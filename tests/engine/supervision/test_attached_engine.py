"""An attached engine: its state, its requests, and what is left of it after the stop."""

from __future__ import annotations

import asyncio

import pytest

from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineRefused, EngineRequest, EngineState
from worker_vllm.engine.supervision.attached_engine import AttachedEngine


async def test_it_is_ready_until_it_is_stopped() -> None:
    """Nothing is started, so nothing is waited for; the stop closes the connection and is the only change."""
    engine = AttachedEngine(HttpEngine("http://127.0.0.1:9"))
    running = asyncio.create_task(engine.run())
    changing = asyncio.create_task(engine.changed())
    assert await engine.wait_until_decided() is EngineState.READY
    with pytest.raises(EngineRefused):
        await engine.request(EngineRequest("GET", "/health"))
    assert engine.state is EngineState.READY
    await engine.stop()
    await running
    assert await changing is EngineState.STOPPED
    assert await engine.wait_until_decided() is EngineState.STOPPED
