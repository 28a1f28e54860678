"""Errors that arise outside the worker core pass the same redaction on their way to the platform."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest

from tests.serverless.memory_platform import SETTINGS, MemoryPlatform
from worker_vllm.errors import EngineUnavailable
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless.queue_worker import QueueWorker, Surroundings
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import Secret

CANARY = "canary-7f3a9c"


async def told(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    if job:
        raise EngineUnavailable(f"it said {CANARY}")
    yield Output(b"1")


async def broken(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    yield Output(b"1")
    raise ValueError(f"Illegal header value {CANARY}")


@pytest.mark.parametrize("handler", [told, broken])
async def test_what_a_failed_job_is_told_holds_no_secret(
    platform: MemoryPlatform, handler: Callable[[Mapping[str, Any]], AsyncGenerator[Output, None]]
) -> None:
    """In its final result and in the last piece of its stream."""
    around = Surroundings(random=lambda: 0.0, redact=Redactor([Secret(CANARY)]).value)
    running = asyncio.create_task(QueueWorker(handler, SETTINGS, platform, around).run())
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: platform.is_done("a"))
    running.cancel()
    await asyncio.wait([running])
    assert CANARY not in json.dumps(platform.posts)
    assert "***" in json.loads(platform.posts[-1][2]["error"])["message"]
