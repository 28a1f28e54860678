"""The real CPU engine started as the worker starts it, preflight first: offline, fast, warmed up."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.support.engines.supervised import PARROT, leftovers
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineRequest, EngineState
from worker_vllm.engine.supervision.startup import plan_start
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.settings.types import EngineSettings

pytestmark = [pytest.mark.vllm, pytest.mark.matrix, pytest.mark.timeout(300)]


async def test_the_hub_may_be_down_and_the_token_expired() -> None:
    """With the model on disk no request goes to the hub; the engine's first request is the warm-up."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_expired"}
    environment.pop("HF_HUB_OFFLINE", None)
    before = leftovers()
    settings = EngineSettings(model=str(PARROT), served_names=("parrot",), fast_start=True)
    supervisor = Supervisor(plan_start(settings, environment), HttpEngine)
    running = asyncio.create_task(supervisor.run())
    try:
        assert await supervisor.wait_until_decided() is EngineState.READY, supervisor.diagnosis
        metrics = (await (await supervisor.request(EngineRequest("GET", "/metrics"))).read()).decode()
        done = [line for line in metrics.splitlines() if line.startswith("vllm:request_success_total{")]
        assert sum(float(line.rsplit(" ", 1)[1]) for line in done) == 1
        assert "warm-up /v1/completions" in supervisor.timeline
        assert any("enforce_eager" in line or "Enforce eager" in line for line in supervisor.last_lines)
    finally:
        await supervisor.stop()
        await running
    assert leftovers() <= before
