"""Slots, the queue, and their figures in /metrics."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.engines.echo import EchoEngine, echo_engine
from worker_vllm.echo.scheduler import Scheduler

COMPLETIONS = "/v1/completions"


async def held(echo: EchoEngine, text: str = "ab", **more: Any) -> int:
    """One request that waits at gate g for every token; its status."""
    return (await echo.http.post(COMPLETIONS, {"prompt": text, "echo": {"gate": "g"}, **more})).status


async def test_requests_without_a_slot_wait_in_order() -> None:
    """Two run, the others wait; a free slot goes to the first in the queue."""
    async with echo_engine(max_num_seqs=2) as echo, asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(held(echo))
        await echo.until(running=2, waiting=3)
        assert await echo.metric("vllm:num_requests_running") == 2
        assert await echo.metric("vllm:num_requests_waiting") == 3
        await echo.control("release", {"gate": "g", "tokens": 100})
        state = await echo.until(running=0, waiting=0)
        assert state["finished"]["stop"] == 5


async def test_a_full_queue_answers_503() -> None:
    """With vLLM's message, before the first byte."""
    async with echo_engine(max_num_seqs=1, max_queued=2) as echo, asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(held(echo))
        await echo.until(running=1, waiting=1)
        answer = await echo.http.post(COMPLETIONS, {"prompt": "x"})
        assert (answer.status, answer.json["error"]["code"]) == (503, 503)
        assert "currently busy" in answer.json["error"]["message"]
        await echo.control("release", {"gate": "g", "tokens": 100})


@pytest.mark.parametrize("running", [0, 1], ids=["while it runs", "while it waits"])
async def test_a_client_that_disconnects_frees_its_slot(running: int) -> None:
    """A disconnect aborts the request, also in the queue."""
    async with echo_engine(max_num_seqs=1) as echo:
        staying = [asyncio.create_task(held(echo)) for _ in range(running)]
        await echo.until(running=running)
        leaving = asyncio.create_task(held(echo))
        await echo.until(running=1, waiting=running)
        leaving.cancel()
        await asyncio.wait([leaving])
        await echo.until(running=running, waiting=0)
        await echo.control("release", {"gate": "g", "tokens": 100})
        assert [await task for task in staying] == [200] * running


async def test_cache_usage_follows_running_requests() -> None:
    """Prompt and generated tokens of running requests, as a fraction of the cache."""
    async with echo_engine(kv_tokens=100) as echo, asyncio.TaskGroup() as tasks:
        tasks.create_task(held(echo, "x" * 25))
        await echo.until(running=1)
        assert await echo.metric("vllm:kv_cache_usage_perc") == 0.25
        await echo.control("release", {"gate": "g", "tokens": 100})
        await echo.until(running=0)
        assert await echo.metric("vllm:kv_cache_usage_perc") == 0
        assert await echo.metric("vllm:generation_tokens_total") == 16


async def test_all_streams_step_together() -> None:
    """With a step time, every running sequence gets its token at the same moment: counts never differ by more."""
    async with echo_engine(step_ms=20) as echo:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(echo.http.post(COMPLETIONS, {"prompt": "abc"}))
            await echo.until(running=8)
            before = (await echo.http.get("/echo/state")).json["generated"]
        assert before % 8 == 0
        assert (await echo.http.get("/echo/state")).json["generated"] == 32


class EarlyLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers fire slightly early, like uvloop's, which have a resolution of 1 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def call_at(self, when: float, *callback: Any, **context: Any) -> asyncio.TimerHandle:
        """Fire early; record the requested time."""
        self.asked.append(when)
        return super().call_at(when - 0.0009, *callback, **context)


def test_a_timer_that_fires_early_makes_no_step_twice() -> None:
    """Each step is due one interval after the last one, whenever its timer fired."""
    loop = EarlyLoop()
    scheduler = Scheduler(step_s=0.002)

    async def steps() -> None:
        for _ in range(20):
            await scheduler.next_step(0)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(steps())
    steps_due = [round(when / scheduler.step_s) for when in loop.asked]
    assert len(steps_due) == len(set(steps_due)) == 20
