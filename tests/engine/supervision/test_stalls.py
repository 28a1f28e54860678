"""When a silent or motionless engine counts as stalled, and when not: the clock alone, then real child processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

import pytest

from tests.support.engines.supervised import Supervised, supervised, supervised_echo_processes
from worker_vllm.engine.client.metrics import Progress, parse_progress
from worker_vllm.engine.interface import EngineState
from worker_vllm.engine.supervision.stall_detector import PendingReads, StallDetector
from worker_vllm.errors import EngineStalled, WorkerError

STALL_S = 1.0
POLLING_S = 1.5  # a quarter of the timeout for two checks, and what a busy machine adds
REPEATED_BY_CLIENTS = {408, 409, 429, *range(500, 600)}  # what OpenAI's and Anthropic's libraries send again
IDLE = None


def test_progress_is_summed_over_engines() -> None:
    """Data parallel engines have a label each; other counters do not count."""
    metrics = """# HELP vllm:num_requests_running x
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:generation_tokens_total{engine="0",model_name="m"} 1.5e+03
vllm:generation_tokens_total{engine="1",model_name="m"} 10.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 3.0
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 99.0
vllm:kv_cache_usage_perc{engine="0"} 0.5
http_requests_total{handler="/metrics"} 12.0
"""
    assert parse_progress(metrics) == Progress(
        (
            ("vllm:generation_tokens_total", 1510.0),
            ("vllm:iteration_tokens_total_sum", 3.0),
            ("vllm:kv_cache_usage_perc", 0.5),
            ("vllm:num_requests_running", 3.0),
        )
    )
    assert parse_progress("") == Progress(())


def at(value: float) -> Progress:
    """What the counters say."""
    return Progress((("vllm:generation_tokens_total", value),))


NONE_SHOWN = Progress(())
SILENT = None


@pytest.mark.parametrize(
    ("checks", "stalled_s"),
    [
        ([(0, at(5), 0), (10, at(5), 0), (20, at(5), 0)], [0, 10, 20]),
        ([(0, at(5), 0), (10, at(6), 0), (20, at(6), 0)], [0, 0, 10]),
        ([(0, at(5), IDLE), (10, at(5), IDLE), (20, at(5), IDLE)], [0, 0, 0]),
        ([(0, at(5), IDLE), (10, at(5), 9), (20, at(5), 9)], [0, 1, 11]),
        ([(0, at(5), 0), (10, at(5), 8), (20, at(5), 19)], [0, 2, 1]),
        ([(0, at(5), IDLE), (10, SILENT, IDLE), (20, SILENT, 19)], [0, 10, 20]),
        ([(0, at(5), 0), (10, SILENT, 0), (20, at(5), 0), (30, at(5), 0)], [0, 10, 0, 10]),
        ([(0, NONE_SHOWN, 0), (10, NONE_SHOWN, 0), (20, SILENT, 0)], [0, 0, 10]),
        ([(0, at(5), 0), (10, at(5), 0), (500, at(5), 0), (510, at(5), 0)], [0, 10, 0, 10]),
        ([(0, at(5), 0), (10, at(5), 0), (38, at(5), 0)], [0, 10, 35]),
        ([(10, SILENT, 0), (20, SILENT, 0)], [20, 30]),
    ],
    ids=[
        "busy and still",
        "a token starts it anew",
        "idle is no stall",
        "it begins with the first request",
        "a reader that pauses is no stall",
        "silence is one, with or without requests",
        "an answer after a silence is progress",
        "without counters only silence is one",
        "a frozen machine is no stall",
        "a short freeze counts for two checks and a half at most",
        "silence before the first look counts from the start",
    ],
)
def test_a_stall_is_silence_or_waiting_without_progress(
    checks: list[tuple[float, Progress | None, float | None]], stalled_s: list[float]
) -> None:
    """Each look: its time, the counters, and since when a request waits."""
    clock = StallDetector(interval_s=10, started_at=-10)
    assert [clock.update(progress, since, now) for now, progress, since in checks] == stalled_s


def test_waiting_lasts_while_anybody_waits() -> None:
    """From the first of several that overlap to the last."""
    now = 1.0
    pending = PendingReads(lambda: now)
    seen = [(pending.since, pending.count)]
    pending.start()
    now = 2.0
    pending.start()
    pending.end()
    seen.append((pending.since, pending.count))
    pending.end()
    seen.append((pending.since, pending.count))
    pending.start()
    seen.append((pending.since, pending.count))
    assert seen == [(None, 0), (1.0, 1), (None, 0), (2.0, 1)]


def body(**echo: Any) -> bytes:
    """A stream by this script."""
    return json.dumps({"model": "parrot", "prompt": "hello" * 20, "stream": True, "echo": echo}).encode()


async def read(run: Supervised, asked: bytes) -> bytes:
    """One stream to its end. Raises what it failed with."""
    response = await run.post("/v1/completions", asked)
    try:
        return b"".join([chunk async for chunk in response.chunks()])
    finally:
        response.close()


async def ask(run: Supervised, asked: bytes) -> WorkerError | bytes:
    """One request to its end: its content, or its error."""
    try:
        return await read(run, asked)
    except WorkerError as error:
        return error


def server(run: Supervised) -> int:
    """The engine's process below its guard."""
    return supervised_echo_processes()[-1]


async def after_first_token(run: Supervised) -> None:
    """It hangs in the middle of an answer."""


async def core_frozen(run: Supervised) -> None:
    """Its core stops while idle: its server answers, and reports that nothing runs."""
    await (await run.post("/echo/freeze")).read()


async def server_stopped(run: Supervised) -> None:
    """Its server stops while idle."""
    os.kill(server(run), signal.SIGSTOP)


@pytest.mark.parametrize("hang", [after_first_token, core_frozen, server_stopped])
async def test_a_real_stall_is_seen_in_time(hang: Any) -> None:
    """The request that met it is answered within the timeout and its polling, by an error that clients do not repeat;
    the next one is served by a new engine."""
    async with supervised(stall_timeout_s=STALL_S) as run:
        await run.supervisor.wait_until_decided()
        await hang(run)
        asked_at = time.monotonic()
        error = await ask(run, body(hang_after=2) if hang is after_first_token else body())
        assert STALL_S * 0.8 < time.monotonic() - asked_at < STALL_S + POLLING_S
        assert isinstance(error, EngineStalled)
        assert "it made no progress for" in error.message
        assert "do not send it again as it is" in error.message
        assert error.error["code"] not in REPEATED_BY_CLIENTS
        assert await run.until(EngineState.READY) is EngineState.READY
        assert b"[DONE]" in await read(run, body())


async def lives_on(run: Supervised) -> None:
    """Nothing was relaunched, and it serves."""
    assert run.states == [EngineState.READY]
    assert b"[DONE]" in await read(run, body())


async def test_a_long_prompt_is_progress() -> None:
    """While it is read only the use of the cache moves, for longer than the timeout."""
    async with supervised(stall_timeout_s=STALL_S) as run:
        await run.supervisor.wait_until_decided()
        assert b"[DONE]" in await read(run, body(ttft_ms=2500))
        await lives_on(run)


async def test_a_reader_that_waits_for_another_one_is_no_stall() -> None:
    """The engine has sent everything, its counters rest, and the answer lies unread for longer than the timeout."""
    async with supervised(stall_timeout_s=STALL_S) as run:
        await run.supervisor.wait_until_decided()
        response = await run.post("/v1/completions", body())
        chunks = response.chunks()
        assert await anext(chunks)
        await asyncio.sleep(2 * STALL_S)  # the platform takes its time
        async for _ in chunks:
            pass
        response.close()
        await lives_on(run)


async def test_a_server_that_is_busy_and_answers_again_is_no_stall() -> None:
    """It answers nothing for most of the timeout, as while it compiles a grammar; a request waits all the time."""
    async with supervised(stall_timeout_s=STALL_S) as run:
        await run.supervisor.wait_until_decided()
        for _ in range(2):
            await asyncio.gather(run.post("/echo/block", b'{"ms": 600}'), ask(run, body(ttft_ms=700)))
        await lives_on(run)


async def test_0_switches_the_watch_off() -> None:
    """A request that hangs stays open."""
    async with supervised(stall_timeout_s=0.0) as run:
        await run.supervisor.wait_until_decided()
        hanging = asyncio.create_task(ask(run, body(hang_after=2)))
        await (await run.get("/echo/wait?running=1")).read()
        done, _ = await asyncio.wait([hanging], timeout=2 * STALL_S)
        assert not done
        await lives_on(run)
        hanging.cancel()
        await asyncio.wait([hanging])
