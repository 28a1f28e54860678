"""An engine whose server lacks the hooks for the worker's port: the worker serves its port itself, and says so."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.engines.fake_vllm import with_fake_vllm
from tests.support.http_mode import COMPLETION, HttpWorker, http_worker
from tests.support.paths import PARROT

pytestmark = pytest.mark.timeout(30)

APART = pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])


def without_hooks(directory: Path) -> dict[str, str]:
    """The environment of a worker whose `vllm` serves with a server that knows nothing of the worker's port."""
    served = {"ENGINE": "vllm", "MODEL_NAME": str(PARROT), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot"}
    return {**with_fake_vllm(directory, {}), **served, "VLLM_CPU_KVCACHE_SPACE": "1"}


async def started(worker: HttpWorker) -> None:
    await worker.listening()
    await worker.until(200)


@APART
async def test_requests_are_passed_on_behind_the_same_guard(tmp_path: Path, apart: bool) -> None:
    """Health, requests and streams work; closed routes are closed; the log says which way requests take."""
    with http_worker({**without_hooks(tmp_path), "API_KEY": "right-key"}, apart=apart) as worker:
        await started(worker)
        assert (await worker.post()).status == 401
        key = {"Authorization": "Bearer right-key"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{worker.port}", headers=key) as client:
            async with client.post("/v1/completions", json={**COMPLETION, "stream": True}) as answer:
                assert (answer.status, (await answer.read()).endswith(b"data: [DONE]\n\n")) == (200, True)
            for path in ("/metrics", "/invocations", "/version"):
                async with client.get(path) as answer:
                    assert answer.status == 404
        [line] = [line for line in worker.process.output().splitlines() if "cannot accept on port" in line]
        assert f"port {worker.port} (" in line
        assert "passes requests on" in line


@APART
async def test_a_killed_engine_is_replaced(tmp_path: Path, apart: bool) -> None:
    """503 with the cause while it is launched again, never a refused connection, then 200."""
    with http_worker(without_hooks(tmp_path), apart=apart) as worker:
        await started(worker)
        worker.kill_engine()
        found = [await worker.until(503)]
        while found[-1].status == 503:
            found.append(await worker.get())
        assert any(b'"status": "dead"' in answer.body for answer in found)
        assert found[-1].status == 200
        assert (await worker.post()).status == 200


@APART
async def test_a_stop_lets_a_running_stream_finish(tmp_path: Path, apart: bool) -> None:
    """As with an engine that adopts the port: 503 at once, the stream ends whole, exit 0."""
    with http_worker(without_hooks(tmp_path), apart=apart) as worker:
        await started(worker)
        await worker.control("POST", "script", {"script": {"gate": "open"}})
        stream = asyncio.create_task(worker.post(body={**COMPLETION, "max_tokens": 30, "stream": True}))
        await worker.control("GET", "wait?running=1")
        worker.process.signal(signal.SIGTERM)
        assert (await worker.until(503)).json["status"] == "draining"
        while (await worker.post()).status == 200:  # readiness goes first, then the port
            pass
        await worker.control("POST", "release", {"gate": "open", "tokens": 100})
        assert b"data: [DONE]" in (await stream).body
        assert await asyncio.to_thread(worker.process.exit_code) == 0
