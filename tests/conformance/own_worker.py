"""The queue worker with a handler that follows the steps in each job's input: the protocol without an engine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import uvloop

from worker_vllm.jobs.output.output import Output
from worker_vllm.modes.queue import with_signals
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.serverless.job_service import JobService
from worker_vllm.serverless.loop_watchdog import Watchdog, WatchdogLimits
from worker_vllm.serverless.queue_worker import QueueWorker
from worker_vllm.settings.load import load


async def handler(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    streamed = job["input"].get("stream", True)
    for step in job["input"]["steps"]:
        if "pause_s" in step:
            await asyncio.sleep(step["pause_s"])
        elif "block_s" in step:
            end = time.monotonic() + step["block_s"]
            while time.monotonic() < end:
                pass
        elif "raise" in step:
            raise RuntimeError(step["raise"])
        elif isinstance(step["say"], str):
            yield Output(step["say"].encode(), sse=True, mergeable=True, streamed=streamed)
        else:
            yield Output(json.dumps(step["say"]).encode(), streamed=streamed)


async def main() -> None:
    settings = load({**os.environ, "ENGINE_URL": "http://127.0.0.1:9"}).queue
    platform = HttpPlatform(settings.api_key.reveal())
    queue = QueueWorker(JobService(handler), settings, platform, Admission(16, 16))
    watchdog = Watchdog(WatchdogLimits(alarm_s=2.0), lambda: os._exit(70))
    watchdog.start()
    with_signals(queue.drain)
    await queue.run()
    watchdog.stop()
    platform.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvloop.run(main())
