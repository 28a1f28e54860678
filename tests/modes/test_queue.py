"""Queue mode's phases over an engine whose states are scripted: which are served, and with which status they end."""

from __future__ import annotations

import asyncio

import pytest

from worker_vllm.engine.interface import EngineFailure, EngineRequest, EngineResponse, EngineState
from worker_vllm.errors import EngineUnavailable
from worker_vllm.modes.queue import EXIT_ENGINE, EXIT_FORCED, QueueMode, known_capacity
from worker_vllm.settings.types import EngineSettings, QueueSettings, Secret, Settings

STARTING, READY, REFUSING, GONE, STOPPED = EngineState
QUEUE = QueueSettings(
    take_url="http://127.0.0.1:9/job-take/w1",
    stream_url="http://127.0.0.1:9/job-stream/w1/$ID",
    done_url="http://127.0.0.1:9/job-done/w1/$ID",
    ping_url="http://127.0.0.1:9/ping/w1",
    api_key=Secret("key"),
)


class ScriptedEngine:
    """Takes the state that it is given; answers nothing."""

    def __init__(self, state: EngineState) -> None:
        self.state = state
        self.failure: EngineFailure | None = None
        self.stopped = asyncio.Event()
        self._changed = asyncio.Event()

    def enter(self, state: EngineState) -> None:
        self.state = state
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        await self.stopped.wait()

    async def stop(self) -> None:
        self.stopped.set()

    async def changed(self) -> EngineState:
        await self._changed.wait()
        return self.state

    async def wait_until_decided(self) -> EngineState:
        while self.state is STARTING:
            await self.changed()
        return self.state

    async def request(self, request: EngineRequest) -> EngineResponse:
        raise EngineUnavailable("scripted")


@pytest.mark.parametrize(
    ("state", "serves", "status"),
    [(READY, True, 0), (REFUSING, True, 0), (GONE, False, EXIT_ENGINE), (STOPPED, False, EXIT_ENGINE)],
)
async def test_only_an_engine_that_answers_is_served(state: EngineState, serves: bool, status: int) -> None:
    """A refusing engine answers every job with its diagnosis; one that is gone leaves the jobs to other workers."""
    engine = ScriptedEngine(state)
    mode = QueueMode(engine, Settings(engine=EngineSettings(), queue=QUEUE))
    try:
        assert await mode.start() is serves
    finally:
        await mode.close()
    assert (mode.exit_status, engine.stopped.is_set()) == (status, True)


async def test_a_signal_before_the_engine_is_ready_ends_the_start() -> None:
    """No job was taken: there is nothing to drain."""
    engine = ScriptedEngine(STARTING)
    mode = QueueMode(engine, Settings(engine=EngineSettings(), queue=QUEUE))
    starting = asyncio.create_task(mode.start())
    await asyncio.sleep(0)
    mode.on_signal()
    assert await starting is False
    await mode.close()
    assert (mode.exit_status, engine.stopped.is_set()) == (0, True)


@pytest.mark.parametrize(
    ("signals", "leaves", "status"), [(1, False, 0), (2, False, EXIT_FORCED), (0, True, EXIT_ENGINE)]
)
async def test_how_serving_ends(signals: int, leaves: bool, status: int) -> None:
    """A signal drains, a second one forces the end, and an engine that is gone ends the worker by itself."""
    engine = ScriptedEngine(READY)
    mode = QueueMode(engine, Settings(engine=EngineSettings(), queue=QUEUE))
    try:
        assert await mode.start()
        await asyncio.sleep(0)  # the task that follows the engine's state
        for _ in range(signals):
            mode.on_signal()
        if leaves:
            engine.enter(GONE)
        await mode.serve()
        await mode.drain()
    finally:
        await mode.close()
    assert (mode.exit_status, engine.stopped.is_set()) == (status, True)


@pytest.mark.parametrize(
    ("arguments", "capacity"),
    [
        (("--max-num-seqs", "8"), 8),
        (("--max-num-seqs=8",), 8),
        (("--max_num_seqs", "8"), 8),
        (("--max-num-seqs", "0"), None),
        (("--max-num-seqs", "many"), None),
        (("--max-num-seqs",), None),
        ((), None),
    ],
)
def test_the_known_capacity(arguments: tuple[str, ...], capacity: int | None) -> None:
    """How many sequences the engine runs at once, where its arguments state it."""
    assert known_capacity(arguments) == capacity
