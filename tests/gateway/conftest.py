"""A gateway under test: on loopback, with counted ids, and a clock that stands still unless a test replaces it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop

from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.server import GatewayServer, listen

Open = Callable[..., Awaitable[Http]]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """HTTP is tested on both loops: the commands run on uvloop, whose transports are pickier; the rest on one."""
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return loops if item.path.name == "test_connection.py" else {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def open_gateway() -> AsyncIterator[Open]:
    """`await open_gateway(options, clock=…, key=…)`: a client of a new gateway."""
    running: list[tuple[GatewayServer, asyncio.Task[None], Http]] = []

    async def start(options: GatewayOptions | None = None, **arguments: Any) -> Http:
        ids = itertools.count(1)
        arguments = {"clock": lambda: 0.0, "new_id": lambda: f"job{next(ids)}", **arguments}
        listener = listen("127.0.0.1", 0)
        server = GatewayServer(Gateway(options or GatewayOptions(), **arguments), listener)
        http = await Http(f"http://127.0.0.1:{listener.getsockname()[1]}").__aenter__()
        running.append((server, asyncio.create_task(server.serve()), http))
        return http

    yield start
    for server, task, http in running:
        await http.__aexit__()
        server.stop()
        await task


@pytest.fixture
async def http(open_gateway: Open) -> Http:
    """A client of a gateway with every default."""
    return await open_gateway()


@pytest.fixture
def worker(http: Http) -> FakeWorker:
    """A worker of the default gateway."""
    return FakeWorker(http)
