"""Health reports the real state while the engine hangs or the worker drains; `worker-vllm health` asks it too."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import aiohttp
import pytest

from tests.support.http_mode import COMPLETION, HttpWorker, http_worker

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_a_stalled_engine_is_replaced(apart: bool) -> None:
    """A request waits and no counter moves: 503 `stalled` from the worker, then 200 from a new engine."""
    with http_worker({"ENGINE_STALL_TIMEOUT": "1"}, apart=apart) as worker:
        await worker.listening()
        await worker.until(200)
        await worker.control("POST", "freeze", {"frozen": True})
        waiting = asyncio.create_task(worker.post())
        stalled = await worker.until(503)
        while "no progress" not in stalled.json["message"]:  # the diagnosis follows the end by a moment
            stalled = await worker.until(503)
        assert stalled.json["status"] == "stalled"
        await asyncio.wait([waiting])
        await worker.until(200)
        assert (await worker.post()).status == 200


async def test_an_idle_engine_never_stalls() -> None:
    """Nothing waits, so unmoved counters mean nothing; three stall timeouts long."""
    with http_worker({"ENGINE_STALL_TIMEOUT": "0.3"}) as worker:
        await worker.listening()
        await worker.until(200)
        for _ in range(10):
            await asyncio.sleep(0.1)
            assert (await worker.get()).status == 200


async def test_a_kept_connection_sees_the_drain() -> None:
    """It belongs to the engine's server: one more response, 503 on health, and the connection is closed."""
    with http_worker({}) as worker:
        await worker.listening()
        await worker.until(200)
        await worker.control("POST", "script", {"script": {"gate": "open"}})
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{worker.port}", connector=connector) as kept:
            async with kept.get("/ping") as answer:
                assert (answer.status, answer.headers.get("connection")) == (200, None)
            running = asyncio.create_task(worker.post(body={**COMPLETION, "stream": True}))
            await worker.control("GET", "wait?running=1")
            worker.process.signal(signal.SIGTERM)
            await worker.until(503)
            async with kept.get("/ping") as answer:
                assert (answer.status, answer.headers["connection"]) == (503, "close")
                assert (await answer.json())["status"] == "draining"
        await worker.control("POST", "release", {"gate": "open", "tokens": 100})
        assert b"data: [DONE]" in (await running).body
        assert await asyncio.to_thread(worker.process.exit_code) == 0


@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_the_health_command(apart: bool) -> None:
    """Healthy while it starts and serves; not when its settings cannot work, and not when nothing listens."""
    environment = {"HEALTH_CHECK_PATH": "/up"}
    with http_worker({**environment, "ECHO_START_DELAY_S": "1"}, apart=apart) as worker:
        assert worker.port
        await worker.listening()
        assert await health(worker, environment) == 0
        while (await worker.get("/up")).status != 200:
            await asyncio.sleep(0.02)
        assert await health(worker, environment) == 0
    assert await health(worker, environment) == 1
    with http_worker({"MAX_MODEL_LEN": "many"}, apart=apart) as worker:
        await worker.listening()
        assert await health(worker, {}) == 1


async def health(worker: HttpWorker, environment: dict[str, str]) -> int:
    """The exit status of `worker-vllm health` in the worker's environment."""
    ports = {"PORT": str(worker.port), "PORT_HEALTH": str(worker.health_port), "WORKER_MODE": "http"}
    command = [sys.executable, "-m", "worker_vllm", "health"]
    done = await asyncio.to_thread(subprocess.run, command, env={**ports, **environment}, capture_output=True)
    return done.returncode
