"""A worker loop under test, ended with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.serverless.memory_platform import SETTINGS, MemoryPlatform
from worker_vllm.serverless.delivery.job_run import Handler
from worker_vllm.serverless.drain_phases import Ending
from worker_vllm.serverless.queue_worker import QueueWorker, Surroundings


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


Serve = Callable[..., tuple[QueueWorker, "asyncio.Task[None]"]]


@pytest.fixture
async def serve(platform: MemoryPlatform) -> AsyncIterator[Serve]:
    """Start a loop: `serve(handler, ending, **settings)` returns it with its running task."""
    running: list[asyncio.Task[None]] = []

    def start(
        handler: Handler, ending: Ending | None = None, **settings: Any
    ) -> tuple[QueueWorker, asyncio.Task[None]]:
        around = Surroundings(random=lambda: 0.0, ending=ending or Ending())
        loop = QueueWorker(handler, replace(SETTINGS, **settings), platform, around)
        running.append(asyncio.create_task(loop.run()))
        return loop, running[-1]

    yield start
    for task in running:
        task.cancel()
        await asyncio.wait([task])
