"""Http mode over the real engine: vLLM's server adopts the worker's port, is killed, and adopts it again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import pytest

from tests.support.fixtures import REAL_HTTP
from tests.support.http_mode import HttpWorker, Traffic, ask, free_ports, http_worker, kill

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

PAUSE_S = 0.05  # of each client: the engine starts on the same processors
CHAT = {"model": "parrot", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}


async def reports_the_death(worker: HttpWorker) -> bool:
    """Whether the health path has the cause. What the dying server had accepted may be cut off meanwhile."""
    with contextlib.suppress(OSError):
        return b"the engine stopped working" in (await worker.get()).body
    return False


@pytest.mark.parametrize("name", ["APIServer", "EngineCore"])
async def test_vllm_adopts_the_port_and_a_killed_one_is_replaced(name: str) -> None:
    """No refusal and no reset across start, kill -9 and relaunch; the guard stands before every route."""
    traffic, stop = Traffic(), asyncio.Event()
    with http_worker(REAL_HTTP) as worker:
        await worker.listening()
        assert (await worker.get()).status == 204
        client = asyncio.create_task(traffic.run(worker.ports, stop))
        await worker.until(200)
        for _ in range(2):
            chat = await worker.post("/v1/chat/completions", CHAT)
            assert (chat.status, chat.headers["server"]) == (200, "uvicorn")
            assert chat.json["choices"][0]["message"]["content"]
            assert (await ask(worker.port, "POST", "/invocations", CHAT)).status == 404
            assert (await worker.get("/metrics")).status == 404
            if stop.is_set():
                break
            died = kill(worker.vllm_process(name))
            while not await reports_the_death(worker):
                await asyncio.sleep(0.01)
            answered = time.monotonic()
            await worker.until(200)
            stop.set()
        await client
        assert traffic.unexplained((died, answered)) == []
        assert set(traffic.statuses) == {204, 200, 503}
        worker.process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.exit_code) == 0


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["APIServer", "EngineCore"])
@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_a_thousand_probes_and_requests_from_before_the_start_across_a_death(apart: bool, name: str) -> None:
    """Eight clients, each request on a connection of its own: no refusal, no reset, only 204, 200 and 503.

    Not counted are refusals before the process listens, and requests in flight at the kill -9.
    """
    traffic, stop, ports = Traffic(), asyncio.Event(), free_ports(apart=apart)
    clients = [asyncio.create_task(traffic.run(ports, stop, 1000, PAUSE_S)) for _ in range(8)]
    while not traffic.failures:
        await asyncio.sleep(0.001)
    with http_worker(REAL_HTTP, ports=ports) as worker:
        await worker.listening()
        await worker.until(200)
        while traffic.statuses.get(200, 0) < 100:
            await asyncio.sleep(0.05)
        died = kill(worker.vllm_process(name))
        while not await reports_the_death(worker):  # the dying server's own 503 comes first, and it cuts off the rest
            await asyncio.sleep(0.01)
        noticed = time.monotonic()
        await worker.until(200)
        stop.set()
        await asyncio.gather(*clients)
        assert traffic.unexplained((died, noticed)) == []
        assert set(traffic.statuses) == {204, 200, 503}
        assert min(traffic.probes, traffic.requests) >= 1000
