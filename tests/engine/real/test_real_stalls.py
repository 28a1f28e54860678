"""The real CPU engine with long prompts, which are no stall, and with a stopped process, which is one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.engines.supervised import REAL, WITH_MODEL_PROCESS, Supervised, supervised
from worker_vllm.engine.client.metrics import parse_progress
from worker_vllm.engine.interface import EngineState
from worker_vllm.errors import EngineStalled
from worker_vllm.settings.types import EngineSettings

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400)]

TIMEOUT_S = 8.0
POLLING_S = 3.0  # two polls, and a margin for a busy machine
KV_USE = "vllm:kv_cache_usage_perc"


async def answer(run: Supervised, tokens: int, max_tokens: int = 8) -> dict[str, Any]:
    """The answer to a prompt of so many tokens and a few (the embedded model reads bytes)."""
    asked = {"model": "parrot", "prompt": "x" * tokens, "max_tokens": max_tokens}
    response = await run.post("/v1/completions", json.dumps(asked).encode())
    try:
        return dict(json.loads(await response.read()))
    finally:
        response.close()


def core(run: Supervised) -> int:
    return run.process_id("EngineCore")


def worker(run: Supervised) -> int:
    return run.process_id("Worker")


def server(run: Supervised) -> int:
    return run.process_id("APIServer")


async def frozen_counters(run: Supervised, tokens: int) -> tuple[dict[str, Any], float]:
    """The answer to a long prompt, and the longest time in which no counter but the use of the cache moved."""
    asking = asyncio.create_task(answer(run, tokens))
    seen, still_since, longest_s = None, time.monotonic(), 0.0
    while not asking.done():
        response = await run.get("/metrics")
        counters = dict(parse_progress((await response.read()).decode()).counters)
        counters.pop(KV_USE)
        now = time.monotonic()
        if counters != seen:
            seen, still_since = counters, now
        longest_s = max(longest_s, now - still_since)
        await asyncio.wait([asking], timeout=0.25)
    return await asking, longest_s


async def test_a_long_prompt_is_no_stall_and_a_stopped_core_is_one() -> None:
    """The prompt takes longer than the timeout, counters at rest: it is answered. Then the idle core is stopped: the
    next job is answered within the timeout and its polling, and the one after it by a new engine."""
    timeout_s = 5.0
    small_steps = replace(REAL, arguments=("--max-num-batched-tokens", "256", "--max-num-seqs", "64"))
    async with supervised(small_steps, stall_timeout_s=timeout_s) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
        answered, still_s = await frozen_counters(run, 20_000)
        assert answered["usage"]["prompt_tokens"] >= 20_000
        assert still_s > timeout_s, "the prompt is too short for this test"
        assert run.states == [EngineState.READY]
        await stop_and_ask(run, core, timeout_s)
        assert (await answer(run, 10))["choices"]


async def stop_and_ask(run: Supervised, process: Callable[[Supervised], int], timeout_s: float) -> None:
    """Stop a process of the idle engine; one job is answered in time, with an error that clients do not retry."""
    os.kill(process(run), signal.SIGSTOP)
    asked_at = time.monotonic()
    with pytest.raises(EngineStalled) as raised:
        await answer(run, 10)
    assert time.monotonic() - asked_at < timeout_s + POLLING_S
    assert raised.value.error["code"] == 424


@pytest.mark.matrix
@pytest.mark.parametrize("process", [worker, server])
async def test_any_stopped_process_is_a_stall(process: Callable[[Supervised], int]) -> None:
    """The core's worker, or the server just after a burst of jobs, whose counters were moving until then."""
    async with supervised(WITH_MODEL_PROCESS, stall_timeout_s=TIMEOUT_S) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
        await asyncio.gather(*(answer(run, 10 + n) for n in range(20)))
        await stop_and_ask(run, process, TIMEOUT_S)
        assert (await answer(run, 10))["choices"]


@pytest.mark.matrix
@pytest.mark.timeout(2400)
async def test_100_000_tokens_are_answered_with_default_settings() -> None:
    """Minutes of reading in which no counter but the use of the cache moves, for longer than the default timeout."""
    async with supervised(REAL) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
        answered, still_s = await frozen_counters(run, 100_000)
        assert answered["usage"]["prompt_tokens"] >= 100_000
        assert still_s > EngineSettings().stall_timeout_s
        assert run.states == [EngineState.READY]
