"""Out of memory on a real GPU: at load, at profiling, while serving; each cause has a diagnosis, one relaunch."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.gpu.models import llama
from tests.support.engines.supervised import Supervised, supervised
from worker_vllm.engine.interface import EngineState
from worker_vllm.engine.preflight.nvidia import driver
from worker_vllm.errors import EngineError, EngineUnavailable
from worker_vllm.settings.types import EngineSettings

DUMMY = ("--load-format", "dummy", "--max-model-len", "4096")


def gpu_gib() -> float:
    """The first GPU's memory."""
    nvidia = driver()
    assert nvidia is not None
    return nvidia.gpus[0].total_bytes / (1 << 30)


async def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    """A model of twice the memory: out of memory at load, the settings' fault, no relaunch."""
    layers = int(2 * gpu_gib() / 0.44)  # a layer of this shape has 0.44 GB in bfloat16
    settings = EngineSettings(model=str(llama(tmp_path, layers)), served_names=("m",), arguments=DUMMY)
    async with supervised(settings) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.REFUSING
        assert "weights do not fit" in run.supervisor.diagnosis
        assert run.supervisor.arguments == DUMMY


async def test_a_batch_that_does_not_fit(tmp_path: Path) -> None:
    """Profiling a batch of a million tokens: out of memory at profiling, once more with less, then served."""
    wish = ("--gpu-memory-utilization", "0.99", "--max-num-seqs", "1024")
    settings = EngineSettings(
        model=str(llama(tmp_path, layers=int(0.8 * gpu_gib() / 0.44))), served_names=("m",), arguments=(*DUMMY, *wish)
    )
    async with supervised(settings) as run:
        state = await run.supervisor.wait_until_decided()
        added = run.supervisor.arguments[len(settings.arguments) :]
        assert state in (EngineState.READY, EngineState.REFUSING)
        if added:
            assert added == ("--max-num-batched-tokens", "8192", "--enforce-eager")


async def test_memory_is_given_back_before_a_relaunch(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """The engine's core is killed: what it held is free again before the next engine starts, which needs it all."""
    settings = EngineSettings(
        model=str(llama(tmp_path, 8)), served_names=("m",), arguments=(*DUMMY, "--gpu-memory-utilization", "0.9")
    )
    async with supervised(settings) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        held = free_gib()
        os.kill(run.process_id("EngineCore"), signal.SIGKILL)
        await run.until(EngineState.STARTING)
        free = free_gib()
        figure(f"{held:.1f} GiB free while it ran, {free:.1f} GiB at the relaunch, of {gpu_gib():.1f}")
        assert free > 0.95 * gpu_gib()
        assert await run.until(EngineState.READY, EngineState.REFUSING) is EngineState.READY


def free_gib() -> float:
    """The first GPU's free memory."""
    nvidia = driver()
    assert nvidia is not None
    return nvidia.gpus[0].free_bytes / (1 << 30)


HOG = """
import time, torch
held = []
while True:
    try:
        held.append(torch.empty(1 << 26, device="cuda"))
    except torch.OutOfMemoryError:
        time.sleep(0.1)
"""


async def ask_until_it_breaks(run: Supervised) -> str:
    """Large prompts with their log probabilities, which need memory that was not set aside; what broke."""
    body = {"model": "m", "prompt": [[5] * 4000] * 64, "max_tokens": 90, "prompt_logprobs": 20}
    try:
        while run.supervisor.state is EngineState.READY:
            await (await run.post("/v1/completions", json.dumps(body).encode())).read()
    except (EngineError, EngineUnavailable) as error:
        return error.message
    return run.supervisor.diagnosis


async def test_memory_that_runs_out_while_serving(tmp_path: Path) -> None:
    """Another process takes what is left: requests learn that it was the memory."""
    settings = EngineSettings(model=str(llama(tmp_path, 4)), served_names=("m",), arguments=DUMMY)
    async with supervised(settings) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        taker = await asyncio.create_subprocess_exec(sys.executable, "-c", HOG)
        try:
            assert "memory ran out while requests were running" in await ask_until_it_breaks(run)
        finally:
            taker.kill()
            await taker.wait()
