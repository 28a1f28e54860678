"""Http mode over an engine whose states are scripted: an engine that cannot adopt the port, and one that is gone."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.http_mode import ask
from worker_vllm.engine.interface import EngineFailure, EngineRequest, EngineResponse, EngineState
from worker_vllm.errors import EngineUnavailable
from worker_vllm.modes.http import HttpMode
from worker_vllm.modes.queue import EXIT_ENGINE
from worker_vllm.settings.types import Settings
from worker_vllm.web.ports import Ports, bind


class ScriptedEngine:
    """Takes the state that it is given; its server adopts no socket."""

    def __init__(self, state: EngineState) -> None:
        self.state = state
        self.socket = "/no/such/directory/engine.sock"
        self.diagnosis = "the disk is full" if state is EngineState.GONE else ""
        self.failure: EngineFailure | None = None
        self.stalled = False
        self.start_progress = ("ready", 1.0, None)
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        await self.stopped.wait()

    async def stop(self) -> None:
        self.stopped.set()

    async def changed(self) -> EngineState:
        await self.stopped.wait()
        return self.state

    async def wait_until_decided(self) -> EngineState:
        return self.state

    async def request(self, request: EngineRequest) -> EngineResponse:
        raise EngineUnavailable("scripted")


async def test_an_engine_that_cannot_adopt_the_port(caplog: pytest.LogCaptureFixture) -> None:
    """The worker serves the port itself, behind the guard, and says so; here the engine does not answer either."""
    ports = Ports(bind(0, "127.0.0.1"))
    port = ports.requests.getsockname()[1]
    mode = HttpMode(ScriptedEngine(EngineState.READY), Settings(), ports)
    serving = asyncio.create_task(mode.serve())
    for method, path, status in (("GET", "/ping", 503), ("GET", "/v1/models", 503), ("GET", "/metrics", 404)):
        assert (await ask(port, method, path)).status == status
    assert "passes requests on, behind the same guard" in caplog.text
    mode.on_signal()
    await serving
    await mode.drain()
    await mode.close()
    assert mode.exit_status == 0


async def test_a_machine_that_cannot_serve() -> None:
    """The worker ends with a status that makes the platform take another machine."""
    engine = ScriptedEngine(EngineState.GONE)
    mode = HttpMode(engine, Settings(), Ports(bind(0, "127.0.0.1")))
    await mode.serve()
    await mode.drain()
    await mode.close()
    assert (mode.exit_status, engine.stopped.is_set()) == (EXIT_ENGINE, True)
