"""The real engine is killed under 200 jobs; what clients of gateway, worker and engine get."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from typing import Any

import pytest

from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.engines.real import SETTINGS, START_TIMEOUT_S
from tests.support.engines.supervised import leftovers
from tests.support.http import Http
from tests.support.processes import Process
from worker_vllm.engine.process.guard import descendants

JOBS = 200
SPOKEN = {"choices": [{"tokens": ["hello"]}]}

pytestmark = [pytest.mark.vllm, pytest.mark.matrix, pytest.mark.timeout(400)]


def job(max_tokens: int, **more: Any) -> dict[str, Any]:
    """A native job."""
    return {"input": {"prompt": "hello", "sampling_params": {"max_tokens": max_tokens, **more}}}


async def ask(endpoint: Http, body: dict[str, Any]) -> dict[str, Any]:
    """Run one job; its final answer."""
    answer = (await endpoint.post("/runsync?wait=300000", body)).json
    return dict(answer)


async def all_in_progress(endpoint: Http) -> None:
    """Wait until the worker has taken every job."""
    while (await endpoint.get("/health")).json["jobs"]["inProgress"] < JOBS:
        await asyncio.sleep(0.1)  # there is no event for the gateway's health


def engine_core(worker: Process) -> int:
    """The engine core's process id, from the prefix of its log lines."""
    return int(re.findall(r"\(EngineCore pid=(\d+)\)", worker.output())[-1])


async def test_200_jobs_fail_with_the_cause_and_the_next_is_served() -> None:
    """Each is FAILED with the cause within a second of the kill; after the relaunch the next is served."""
    before = leftovers()
    with gateway_process() as url, worker_process({**worker_environment(url, "w1"), **SETTINGS}) as worker:
        await asyncio.to_thread(worker.line, "the engine is ready", START_TIMEOUT_S)
        async with Http(url) as endpoint:
            asked = [asyncio.create_task(ask(endpoint, job(2000, ignore_eos=True))) for _ in range(JOBS)]
            await all_in_progress(endpoint)
            os.kill(engine_core(worker), signal.SIGKILL)
            died = time.monotonic()
            answers = await asyncio.gather(*asked)
            took_s = time.monotonic() - died
            assert {answer["status"] for answer in answers} == {"FAILED"}
            errors = [json.loads(answer["error"]) for answer in answers]
            assert {(error["code"], "ended" in error["message"]) for error in errors} == {(503, True)}, errors[0]
            assert took_s < 1.0
            assert (await ask(endpoint, job(8)))["output"][0] | {"usage": None} == SPOKEN | {"usage": None}
        engine = descendants(worker.pid)
    assert not set(engine) & set(descendants(1))
    assert leftovers() <= before
