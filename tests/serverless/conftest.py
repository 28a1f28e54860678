"""A queue worker under test, ended with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.serverless.memory_platform import SETTINGS, MemoryPlatform
from worker_vllm.serverless.delivery.job_run import Handler
from worker_vllm.serverless.drain_phases import DrainTimeouts
from worker_vllm.serverless.job_service import JobService
from worker_vllm.serverless.queue_worker import QueueWorker


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


Serve = Callable[..., tuple[QueueWorker, "asyncio.Task[None]"]]


@pytest.fixture
async def serve(platform: MemoryPlatform) -> AsyncIterator[Serve]:
    """Start a worker: `serve(handler, timeouts, **settings)` returns it with its running task."""
    running: list[asyncio.Task[None]] = []

    def start(
        handler: Handler, timeouts: DrainTimeouts | None = None, **settings: Any
    ) -> tuple[QueueWorker, asyncio.Task[None]]:
        worker = QueueWorker(JobService(handler), replace(SETTINGS, **settings), platform, random=lambda: 0.0)
        running.append(asyncio.create_task(worker.run(timeouts)))
        return worker, running[-1]

    yield start
    for task in running:
        task.cancel()
        await asyncio.wait([task])
