"""Everything the official `runpod.Endpoint` can do, sync and asyncio, against one gateway; for the SDK's environment.

    python endpoint_client.py BASE_URL KEY

Prints one JSON object: what each call gave back.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

BASE_URL, KEY = sys.argv[1:]
os.environ["RUNPOD_ENDPOINT_BASE_URL"] = BASE_URL  # read when runpod is imported
os.environ["HOME"] = "/nonexistent"  # a key in the user's own configuration would win

import runpod  # noqa: E402
from runpod import AsyncioEndpoint, AsyncioJob, http_client  # noqa: E402


def attempt(call: Any) -> str:
    """The name and the words of what a call raises."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def sync_calls() -> dict[str, Any]:
    """The blocking client."""
    endpoint = runpod.Endpoint("local", api_key=KEY)
    found: dict[str, Any] = {"run_sync": endpoint.run_sync({"input": {"echo": "é🙂"}})}
    found["run_sync wraps"] = endpoint.run_sync({"echo": [1]})
    found["run_sync of a failing job"] = endpoint.run_sync({"input": {"fail": "no"}})
    job = endpoint.run({"input": {"echo": 7}})
    found["output"] = job.output(timeout=10)
    found["status"] = job.status()
    found["stream"] = list(endpoint.run({"input": {"stream": ["a", {"b": 1}, "c"]}}).stream())
    waiting = endpoint.run({"input": {"wait": True}})
    found["cancel"] = {**waiting.cancel(), "id": "…"}
    found["status after cancel"] = waiting.status()
    found["purge_queue"] = endpoint.purge_queue()
    found["health"] = endpoint.health()["workers"]
    found["wrong key"] = attempt(lambda: runpod.Endpoint("local", api_key="other").health())
    found["unknown job"] = attempt(runpod.endpoint.runner.Job("local", "nope", endpoint.rp_client).status)[:14]
    return found


async def asyncio_calls() -> dict[str, Any]:
    """The asyncio client."""
    runpod.api_key = KEY
    found: dict[str, Any] = {}
    async with http_client.AsyncClientSession() as session:
        endpoint = AsyncioEndpoint("local", session)
        job: AsyncioJob = await endpoint.run({"echo": "hi"})
        found["output"] = await job.output(timeout=10)
        found["status"] = await job.status()
        found["stream"] = [piece async for piece in (await endpoint.run({"stream": ["a", "b"]})).stream()]
        waiting = await endpoint.run({"wait": True})
        found["cancel"] = {**(await waiting.cancel()), "id": "…"}
        found["health"] = (await endpoint.health())["workers"]
        found["purge_queue"] = await endpoint.purge_queue()
    return found


if __name__ == "__main__":
    json.dump({"sync": sync_calls(), "asyncio": asyncio.run(asyncio_calls())}, sys.stdout)
