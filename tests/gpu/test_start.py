"""Starts of an 8B model on a real GPU, in one run beside each other: cold, warm, fast, and plain `vllm serve`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.gpu.models import llama
from tests.support.engines.supervised import supervised
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineState
from worker_vllm.engine.supervision.engine_run import HEALTH
from worker_vllm.errors import WorkerError
from worker_vllm.settings.types import EngineSettings

NEVER_SLOWER_THAN_S = 0.3


async def supervised_start(settings: EngineSettings, environment: dict[str, str]) -> float:
    """Seconds until our worker's engine is ready, its warm-up request included."""
    began = time.monotonic()
    async with supervised(settings, environment) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
        return time.monotonic() - began


async def plain_start(model: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> float:
    """Seconds until plain `vllm serve` is healthy."""
    began = time.monotonic()
    socket = model / "plain.sock"
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), "--uds", str(socket)]
    process = await asyncio.create_subprocess_exec(*command, *arguments, env={**environment})
    engine = HttpEngine(f"unix:{socket}")
    try:
        while True:
            try:
                if (await engine.request(HEALTH)).status == 200:
                    return time.monotonic() - began
            except WorkerError:
                await asyncio.sleep(0.05)
    finally:
        await engine.aclose()
        process.terminate()
        await process.wait()


async def test_a_second_start_is_as_fast_as_plain_vllm(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Cold, then warm beside plain `vllm serve` on the same caches, then without compilation."""
    model = llama(tmp_path)
    arguments = ("--load-format", "dummy", "--max-model-len", "8192")
    environment = {**os.environ, "VLLM_CACHE_ROOT": str(tmp_path / "cache")}
    settings = EngineSettings(model=str(model), served_names=("m",), arguments=arguments)
    figures = {"cold": await supervised_start(settings, environment)}
    figures["plain warm"] = await plain_start(model, arguments, environment)
    figures["warm"] = await supervised_start(settings, environment)
    figures["fast"] = await supervised_start(replace(settings, fast_start=True), environment)
    for name, seconds in figures.items():
        figure(f"{name} {seconds:.1f} s")
    assert figures["warm"] < figures["cold"]
    assert figures["warm"] <= figures["plain warm"] + NEVER_SLOWER_THAN_S
