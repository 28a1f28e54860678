"""A gateway under test: on loopback, with counted ids, and a clock that stands still unless a test replaces it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import uvloop

from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.server import GatewayServer, listen

Open = Callable[..., Awaitable[Http]]

ANY_ENDPOINT = GatewayOptions(any_endpoint=True)


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """HTTP is tested on both loops: the commands run on uvloop, whose transports are pickier; the rest on one."""
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return loops if item.path.name == "test_connection.py" else {"uvloop": uvloop.new_event_loop}


@asynccontextmanager
async def serving(options: GatewayOptions, *, real_clock: bool = False, **arguments: Any) -> AsyncIterator[Http]:
    """A gateway for the length of the block, and a client of it."""
    ids = itertools.count(1)
    clock = time.monotonic if real_clock else lambda: 0.0
    gateway = Gateway(options, **{"clock": clock, "new_id": lambda: f"job{next(ids)}", **arguments})
    listener = listen("127.0.0.1", 0)
    server = GatewayServer(gateway, listener)
    running = asyncio.create_task(server.serve())
    try:
        async with Http(f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            yield http
    finally:
        server.stop()
        await running


@pytest.fixture
async def open_gateway() -> AsyncIterator[Open]:
    """`await open_gateway(options, clock=…, key=…)`: a client of a new gateway."""
    async with AsyncExitStack() as stack:

        async def start(options: GatewayOptions | None = None, **arguments: Any) -> Http:
            return await stack.enter_async_context(serving(options or ANY_ENDPOINT, **arguments))

        yield start


@pytest.fixture
async def http(open_gateway: Open) -> Http:
    """A client of a gateway with every default."""
    return await open_gateway()


@pytest.fixture
def worker(http: Http) -> FakeWorker:
    """A worker of the default gateway."""
    return FakeWorker(http)
