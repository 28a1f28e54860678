"""The queue worker's gauges."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import MemoryPlatform
from tests.serverless.test_queue_worker import echo
from worker_vllm.engine.interface import EngineLoad
from worker_vllm.serverless.metrics import publish


async def test_gauges_show_the_admissions_inputs(platform: MemoryPlatform, serve: Serve) -> None:
    """Window, jobs, and what the engine reported; read at the moment of collection."""
    loop, _ = serve(echo, max_concurrency=10)
    registry = CollectorRegistry()
    publish(loop.gauges(), registry)
    for number in range(10):
        loop.admission.acquire(f"job-{number}")
    loop.admission.update(EngineLoad(running=3, waiting=6, kv_used=0.25))
    names = ("jobs_held", "jobs_window", "engine_running", "engine_waiting", "engine_kv_used", "results_bytes")
    assert [registry.get_sample_value(f"worker_{name}") for name in names] == [10, 5, 3, 6, 0.25, 0]
