"""Http mode over the real engine: vLLM's server adopts the worker's port, is killed, and adopts it again."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.support.engines.real import SETTINGS
from tests.support.http_mode import Traffic, ask, http_worker, kill

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

REAL = {**SETTINGS, "ENGINE": "vllm", "HF_HUB_OFFLINE": "1"}
CHAT = {"model": "parrot", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}


@pytest.mark.parametrize("name", ["APIServer", "EngineCore"])
async def test_vllm_adopts_the_port_and_a_killed_one_is_replaced(name: str) -> None:
    """No refusal and no reset across start, kill -9 and relaunch; the guard stands before every route."""
    traffic, stop = Traffic(), asyncio.Event()
    with http_worker(REAL) as worker:
        await worker.listening()
        assert (await worker.get()).status == 204
        client = asyncio.create_task(traffic.run(worker, stop, 0))
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
            while b"the engine stopped working" not in (await worker.get()).body:
                await asyncio.sleep(0.01)
            answered = time.monotonic()
            await worker.until(200)
            stop.set()
        await client
        # Until its worker has killed it, vLLM's server answers 500 for the core that has died.
        assert [each for each in traffic.failures if not (each[1] < answered and each[2] > died)] == []
        assert set(traffic.statuses) <= {204, 200, 503, 500}
        worker.process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.exit_code) == 0
