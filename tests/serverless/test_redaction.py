"""Errors that arise outside the job handler pass the same redaction before they are posted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest

from tests.serverless.memory_platform import SETTINGS, MemoryPlatform
from worker_vllm.errors import EngineUnavailable
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless.job_service import JobService
from worker_vllm.serverless.queue_worker import QueueWorker
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import Secret

CANARY = "canary-7f3a9c"


async def fails_at_once(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    raise EngineUnavailable(f"the engine answered {CANARY}")
    yield


async def fails_in_its_stream(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    yield Output(b"1")
    raise ValueError(f"Illegal header value {CANARY}")


@pytest.mark.parametrize("handler", [fails_at_once, fails_in_its_stream])
async def test_the_error_of_a_failed_job_contains_no_secret(
    platform: MemoryPlatform, handler: Callable[[Mapping[str, Any]], AsyncGenerator[Output, None]]
) -> None:
    """In its final result and in the last piece of its stream."""
    jobs = JobService(handler, redact=Redactor([Secret(CANARY)]).value)
    running = asyncio.create_task(QueueWorker(jobs, SETTINGS, platform, random=lambda: 0.0).run())
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: platform.is_done("a"))
    running.cancel()
    await asyncio.wait([running])
    assert CANARY not in json.dumps(platform.posts)
    assert "***" in json.loads(platform.posts[-1][2]["error"])["message"]
