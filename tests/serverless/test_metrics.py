"""The queue worker's gauges."""

from __future__ import annotations

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import MemoryPlatform
from tests.serverless.test_queue_worker import echo
from worker_vllm.engine.interface import EngineLoad
from worker_vllm.observability import metric_names as names


async def test_gauges_show_the_admissions_inputs(platform: MemoryPlatform, serve: Serve) -> None:
    """Window, jobs, and what the engine reported; read at the moment of collection."""
    loop, _ = serve(echo, max_concurrency=10)
    gauges = loop.gauges()
    for number in range(10):
        loop.admission.acquire(f"job-{number}")
    loop.admission.update(EngineLoad(running=3, waiting=6, kv_used=0.25))
    assert {metric.name: read() for metric, read in gauges.items()} == {
        "worker_jobs_held": 10,
        "worker_jobs_window": 5,
        "worker_engine_running": 3,
        "worker_engine_waiting": 6,
        "worker_engine_kv_used_ratio": 0.25,
        "worker_jobs_undelivered": 0,
        "worker_pieces_per_second_limit": 2500.0,
        "worker_results_bytes": 0,
    }
    assert {metric.kind for metric in gauges} == {names.MetricKind.GAUGE}


async def test_a_report_that_is_only_shown_decides_nothing(platform: MemoryPlatform, serve: Serve) -> None:
    """A scrape reads the engine's load, so that no gauge is NaN while a job runs; the window stays."""
    loop, _ = serve(echo, max_concurrency=10)
    loop.admission.show(EngineLoad(running=3, waiting=6, kv_used=0.25))
    assert loop.admission.window == 10
    assert loop.gauges()[names.ENGINE_WAITING]() == 6
