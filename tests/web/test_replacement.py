"""Workers behind a load balancer are replaced under constant traffic: every accepted request comes whole."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping

import aiohttp
import pytest

from tests.support.fixtures import REAL_HTTP
from tests.support.http_mode import http_worker
from tests.support.platforms.balancer import REQUEST, balancer, is_whole_stream

CLIENTS = 8
KEPT = pytest.mark.parametrize("keep_alive", [False, True], ids=["new connections", "kept connections"])


async def replace(environment: Mapping[str, str], replacements: int, *, keep_alive: bool) -> None:
    """Two workers; as many as are to be replaced get SIGTERM, one after the other, when a replacement starts."""
    stop = asyncio.Event()
    async with balancer(keep_alive=keep_alive) as front:
        with contextlib.ExitStack() as processes:
            workers = [processes.enter_context(http_worker(environment)) for _ in range(2)]
            for worker in workers:
                front.add(worker)
                await front.until_in_pool(worker)
            clients = [asyncio.create_task(front.run(stop, number)) for number in range(CLIENTS)]
            for old in workers[:replacements]:
                seen = front.whole
                while front.whole < seen + 2 * CLIENTS:
                    await asyncio.sleep(0.01)
                replacement = processes.enter_context(http_worker(environment))
                old.process.signal(signal.SIGTERM)
                front.add(replacement)
                assert await asyncio.to_thread(old.process.exit_code) == 0
                await front.until_in_pool(replacement)
            seen = front.whole
            while front.whole < seen + 2 * CLIENTS:
                await asyncio.sleep(0.01)
            stop.set()
            await asyncio.gather(*clients)
    assert front.failures == []


@pytest.mark.timeout(60)
@KEPT
async def test_two_workers_are_replaced_under_constant_traffic(keep_alive: bool) -> None:
    await replace({"ECHO_TPOT_MS": "5"}, 2, keep_alive=keep_alive)


@pytest.mark.vllm
@pytest.mark.matrix
@KEPT
async def test_a_worker_of_the_real_engine_is_replaced_under_constant_traffic(keep_alive: bool) -> None:
    await replace(REAL_HTTP, 1, keep_alive=keep_alive)


async def test_a_request_on_a_kept_connection_after_the_signal_comes_whole() -> None:
    """A balancer that has not yet seen the 503 sends one: nothing else runs, and the worker still waits for it."""
    with http_worker({"ECHO_TPOT_MS": "20"}) as worker:
        await worker.listening()
        await worker.until(200)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{worker.port}") as kept:
            async with kept.get("/ping") as answer:
                assert answer.status == 200
            worker.process.signal(signal.SIGTERM)
            await worker.until(503)
            async with kept.post("/v1/completions", json={**REQUEST, "stream": True}) as answer:
                assert is_whole_stream(await answer.read())
                assert answer.headers["connection"] == "close"
        assert await asyncio.to_thread(worker.process.exit_code) == 0
