"""Processes of the real CPU engine are killed: at load, before the first token, under load, idle, with the worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.engines.supervised import REAL, WITH_MODEL_PROCESS, Supervised, leftovers, supervised
from tests.support.paths import ROOT
from worker_vllm.engine.interface import EngineState
from worker_vllm.engine.process.guard import descendants
from worker_vllm.errors import EngineError, EngineUnavailable

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400)]

MODEL = "Worker"  # how vLLM names a process for the model alone
LONG = {"model": "parrot", "prompt": "x", "max_tokens": 20000, "ignore_eos": True, "stream": True}
SHORT = {"model": "parrot", "prompt": "hello", "max_tokens": 8}


async def ask(run: Supervised, **changes: object) -> Exception | None:
    """Send one request and read its response; the error it failed with."""
    try:
        response = await run.post("/v1/completions", json.dumps({**LONG, **changes}).encode())
        try:
            await read_on(response.chunks())
        finally:
            response.close()
    except (EngineError, EngineUnavailable) as error:
        return error
    return None


async def read_on(chunks: AsyncIterator[bytes]) -> None:
    """Read the rest of a stream, which must contain no error event of the dying server."""
    async for chunk in chunks:
        assert b'"error"' not in chunk


COUNTS = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")


async def running(run: Supervised, count: int, counts: tuple[str, ...] = COUNTS) -> None:
    """Wait until the engine's metrics count so many running and waiting requests."""
    while True:
        metrics = (await (await run.get("/metrics")).read()).decode()
        values = [line.rsplit(" ", 1)[1] for line in metrics.splitlines() if line.startswith(counts)]
        if sum(map(float, values)) >= count:
            return


async def kill_one(run: Supervised, name: str) -> float:
    """Kill the engine's process of this name in the log; the time of the kill."""
    os.kill(run.process_id(name), signal.SIGKILL)
    return time.monotonic()


async def under_load(run: Supervised, name: str) -> None:
    """200 running streams: each is answered within a second of the kill."""
    asked = [asyncio.create_task(ask(run, max_tokens=2000)) for _ in range(200)]
    await running(run, 200)
    died = await kill_one(run, name)
    errors = await asyncio.gather(*asked)
    assert time.monotonic() - died < 1.0
    assert {type(error) for error in errors} == {EngineUnavailable}


async def while_streaming(run: Supervised, name: str) -> None:
    """One stream that has begun: it fails with the cause within a second."""
    response = await run.post("/v1/completions", json.dumps(LONG).encode())
    chunks = response.chunks()
    assert b'"text"' in await anext(chunks)
    died = await kill_one(run, name)
    try:
        with pytest.raises(EngineUnavailable, match="ended"):
            await read_on(chunks)
    finally:
        response.close()
    assert time.monotonic() - died < 1.0
    await run.until(EngineState.STARTING)  # the dying server still answers requests with its own errors


async def while_waiting(run: Supervised, name: str) -> None:
    """Two requests run, 62 wait: all are answered within a second of the kill."""
    asked = [asyncio.create_task(ask(run)) for _ in range(64)]
    await running(run, 62, COUNTS[1:])
    died = await kill_one(run, name)
    errors = await asyncio.gather(*asked)
    assert time.monotonic() - died < 1.0
    assert {type(error) for error in errors} == {EngineUnavailable}


async def while_idle(run: Supervised, name: str) -> None:
    """Without requests: the exit is detected within half a second."""
    died = await kill_one(run, name)
    await run.until(EngineState.STARTING)
    assert time.monotonic() - died < 0.5


@pytest.mark.parametrize(
    ("name", "kill"),
    [
        ("EngineCore", under_load),
        pytest.param("EngineCore", while_idle, marks=pytest.mark.matrix),
        pytest.param("EngineCore", while_streaming, marks=pytest.mark.matrix),
        pytest.param("EngineCore", while_waiting, marks=pytest.mark.matrix),
        pytest.param(MODEL, under_load, marks=pytest.mark.matrix),
        pytest.param("APIServer", under_load, marks=pytest.mark.matrix),
    ],
    ids=["core under load", "core idle", "core streaming", "core waiting", "model under load", "server under load"],
)
async def test_a_killed_process_ends_the_engine_and_the_next_job_succeeds(
    name: str, kill: Callable[[Supervised, str], Awaitable[None]]
) -> None:
    """All processes end, running requests fail with the cause, a relaunch serves, nothing is left."""
    before, others = leftovers(), set(descendants(os.getpid()))
    settings = WITH_MODEL_PROCESS if name == MODEL else REAL
    if kill is while_waiting:
        settings = replace(REAL, arguments=("--max-num-seqs", "2"))
    async with supervised(settings) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
        assert any(line.startswith(f"({MODEL} pid=") for line in run.log.lines) is (name == MODEL)
        await kill(run, name)
        answer = json.loads(await (await run.post("/v1/completions", json.dumps(SHORT).encode())).read())
        assert answer["choices"][0]["text"] == "hello"
        assert EngineState.READY in run.states
    assert leftovers() <= before
    assert set(descendants(os.getpid())) <= others


@pytest.mark.matrix
async def test_a_kill_while_it_loads_is_tried_again() -> None:
    """An exit during the start is retried; the request that waited is served."""
    async with supervised(WITH_MODEL_PROCESS) as run:
        await run.line("Starting to load model")
        os.kill(run.process_id(MODEL), signal.SIGKILL)
        answer = json.loads(await (await run.post("/v1/completions", json.dumps(SHORT).encode())).read())
        assert answer["choices"][0]["text"] == "hello"


@pytest.mark.matrix
async def test_a_kill_before_the_first_token() -> None:
    """The request is accepted and has no response yet: it fails with the cause."""
    async with supervised(REAL) as run:
        await run.supervisor.wait_until_decided()
        asked = asyncio.create_task(ask(run, prompt="x" * 60000, max_tokens=1))
        await running(run, 1)
        died = await kill_one(run, "EngineCore")
        assert isinstance(await asked, EngineUnavailable)
        assert time.monotonic() - died < 1.0


WORKER = """
import asyncio, os, sys
from tests.support.engines.supervised import REAL, TWO_PARTS, supervised
async def main():
    async with supervised(TWO_PARTS if sys.argv[1] == "2" else REAL) as run:
        print(await run.supervisor.wait_until_decided(), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("parts", ["1", pytest.param("2", marks=pytest.mark.matrix)])
def test_a_killed_worker_leaves_nothing(parts: str) -> None:
    """kill -9 of the worker: no process, socket or shared memory after five seconds."""
    before = leftovers()
    path = os.pathsep.join([str(ROOT), *sys.path])
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, parts],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "ready"
        engine = descendants(worker.pid)
        assert len(engine) >= 4
        worker.kill()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in engine) or not leftovers() <= before:
        assert time.monotonic() < deadline, leftovers()
        time.sleep(0.05)  # there is no event for foreign processes and files
