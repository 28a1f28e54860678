"""From command to first answer and down again: plain `vllm serve`, the same forked, and under our supervisor.

Each variant once a round, in turn, so that all see the same machine; the first round warms the disk's cache and is
not counted. Needs the engine for CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from worker_vllm.engine.base import EngineRequest
from worker_vllm.engine.beginning import Beginning
from worker_vllm.engine.client import HttpEngine
from worker_vllm.engine.supervisor import State, Supervisor
from worker_vllm.errors import WorkerError
from worker_vllm.settings.model import EngineSettings

PARROT = Path(__file__).resolve().parents[1] / "models" / "parrot"
BODY = b'{"model": "parrot", "prompt": "hello", "max_tokens": 2}'
ASK = EngineRequest("POST", "/v1/completions", BODY, {"content-type": "application/json"})
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
SPAWNED = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}


async def bare(extra: dict[str, str], *arguments: str) -> None:
    """`vllm serve` by our entry point alone, asked until it answers, then ended."""
    with tempfile.TemporaryDirectory() as directory:
        socket = f"{directory}/engine.sock"
        command = [sys.executable, "-m", "worker_vllm.engine.launch", "serve", str(PARROT), "--uds", socket]
        names = ("--served-model-name", "parrot")
        process = await asyncio.create_subprocess_exec(
            *command,
            *names,
            *arguments,
            env={**os.environ, **ENVIRONMENT, **extra},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        engine = HttpEngine(f"unix:{socket}")
        try:
            while not await answers(engine):  # noqa: ASYNC110 a starting server says nothing by itself
                await asyncio.sleep(0.05)
        finally:
            await engine.aclose()
            process.terminate()
            await process.wait()


async def answers(engine: HttpEngine) -> bool:
    """Whether it answers a request."""
    try:
        response = await engine.request(ASK)
        await response.read()
    except WorkerError:
        return False
    return response.status == 200


async def ours() -> None:
    """The worker's own way: guard, supervisor, health, warm-up, one request."""
    settings = EngineSettings(model=str(PARROT), served_names=("parrot",))
    supervisor = Supervisor(Beginning(settings, {**os.environ, **ENVIRONMENT}), HttpEngine)
    running = asyncio.create_task(supervisor.run())
    if await supervisor.settled() is not State.READY:
        raise SystemExit(supervisor.diagnosis)
    await (await supervisor.request(ASK)).read()
    await supervisor.stop()
    await running


VARIANTS: dict[str, Callable[[], Awaitable[None]]] = {
    "vllm serve, spawned, compiled": lambda: bare(SPAWNED, "--no-enforce-eager"),
    "vllm serve, spawned, eager": lambda: bare(SPAWNED),
    "vllm serve, forked, eager": lambda: bare({}),
    "worker, forked, eager": ours,
}


def children_cpu_s() -> float:
    """CPU seconds of every child that ended so far."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine_start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for count in range(rounds + 1):
        for name, start in VARIANTS.items():
            began, cpu = time.monotonic(), children_cpu_s()
            asyncio.run(start())
            if count:
                figures[name].append((time.monotonic() - began, children_cpu_s() - cpu))
    print(f"| start, one answer, stop: median of {rounds} | seconds | CPU seconds |\n|---|---|---|")
    for name, pairs in figures.items():
        wall, used = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {wall:.1f} | {used:.1f} |")
