"""From a client's cancel to the engine's release of the request, over many streams."""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks.measure import figures, table
from benchmarks.record import text
from tests.support.http import Http, metric
from tests.support.stack import serve_echo

JOB = {"input": {"prompt": "x", "stream": True, "sampling_params": {"max_tokens": 100_000, "ignore_eos": True}}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cancel", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    with serve_echo(["--tpot-ms", "5"]) as stack:
        began = time.perf_counter()
        durations = asyncio.run(measure(stack.url, stack.engine_url, given.count))
        series = figures("cancel to release", durations, time.perf_counter() - began)
        print(text(table("", [series])))


async def measure(endpoint_url: str, engine_url: str, count: int) -> list[float]:
    """Seconds from each cancel to an engine that runs nothing, the looking itself included."""
    durations = []
    async with Http(endpoint_url) as endpoint, Http(engine_url) as engine:

        async def running() -> float:
            return metric((await engine.get("/metrics")).body.decode(), "vllm:num_requests_running")

        for number in range(count):
            job_id = (await endpoint.post("/run", JOB)).json["id"]
            while not await running():  # noqa: ASYNC110 — the count has no event
                await asyncio.sleep(0.002)
            await asyncio.sleep(0.001 * (number % 17))  # at every point of a POST's way
            began = time.perf_counter()
            await endpoint.post(f"/cancel/{job_id}")
            while await running():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            durations.append(time.perf_counter() - began)
    return durations
