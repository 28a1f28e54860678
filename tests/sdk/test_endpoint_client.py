"""The official `runpod.Endpoint` clients against the gateway, a scripted worker behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from tests.support.paths import SDK_PYTHON
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.server import GatewayServer, listen

SCRIPT = Path(__file__).with_name("endpoint_client.py")

pytestmark = [
    pytest.mark.sdk,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not SDK_PYTHON.exists(), reason="the SDK's environment is not there: make setup-sdk"),
]

WORKERS = {"idle": 1, "initializing": 0, "ready": 1, "running": 0, "throttled": 0, "unhealthy": 0}


async def work(worker: FakeWorker) -> None:
    """Do what each job's input says; jobs that wait are left to be cancelled."""
    while True:
        taken = await worker.take()
        if taken.status == 204:
            continue
        job_id, asked = taken.json["id"], taken.json["input"]
        for piece in asked.get("stream", []):
            await worker.piece(job_id, piece)
        if "fail" in asked:
            await worker.done(job_id, {"error": asked["fail"]})
        elif "wait" not in asked:
            await worker.done(job_id, {"output": asked.get("stream", asked.get("echo"))})


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A gateway that asks for a key, with a worker."""
    listener = listen("127.0.0.1", 0)
    server = GatewayServer(Gateway(GatewayOptions(), key="k3y"), listener)
    serving = asyncio.create_task(server.serve())
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with Http(url, {"Authorization": "k3y"}) as http:
        working = asyncio.create_task(work(FakeWorker(http)))
        yield f"{url}/v2"
        working.cancel()
        await asyncio.wait((working,))
    server.stop()
    await serving


async def test_the_official_clients_get_what_they_expect(url: str) -> None:
    """Every call of the sync and of the asyncio client, its result whole."""
    pipe = asyncio.subprocess.PIPE
    client = await asyncio.create_subprocess_exec(SDK_PYTHON, SCRIPT, url, "k3y", stdout=pipe, stderr=pipe)
    printed, complaints = await client.communicate()
    assert client.returncode == 0, complaints.decode()
    got: dict[str, Any] = json.loads(printed)
    assert got["sync"] == {
        "run_sync": "é🙂",
        "run_sync wraps": [1],
        "run_sync of a failing job": None,
        "output": 7,
        "status": "COMPLETED",
        "stream": ["a", {"b": 1}, "c"],
        "cancel": {"id": "…", "status": "CANCELLED"},
        "status after cancel": "CANCELLED",
        "purge_queue": {"removed": 0, "status": "completed"},
        "health": WORKERS,
        "wrong key": "RuntimeError: 401 Unauthorized | Make sure Runpod API key is set and valid.",
        "unknown job": "HTTPError: 404",
    }
    assert got["asyncio"] == {
        "output": "hi",
        "status": "COMPLETED",
        "stream": ["a", "b"],
        "cancel": {"id": "…", "status": "CANCELLED"},
        "health": WORKERS,
        "purge_queue": {"removed": 0, "status": "completed"},
    }
