"""A worker on the official SDK that follows the steps in each job's input. Runs in the SDK's environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import runpod


async def handler(job: dict[str, Any]) -> AsyncIterator[Any]:
    for step in job["input"]["steps"]:
        if "pause_s" in step:
            await asyncio.sleep(step["pause_s"])
        elif "raise" in step:
            raise RuntimeError(step["raise"])
        else:
            yield step["say"]


def concurrency(current: int) -> int:
    return 16


if __name__ == "__main__":
    runpod.serverless.start(
        {"handler": handler, "concurrency_modifier": concurrency, "return_aggregate_stream": True}
    )
