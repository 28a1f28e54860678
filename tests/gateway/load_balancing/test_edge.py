"""The load balancer inside the gateway's own server: the key, escaped paths, WebSockets, backpressure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from starlette.routing import Mount

from tests.gateway.load_balancing.workers import QUICK, FakeWorker, fake_worker
from worker_vllm.gateway.fleet.fleet_control import AttachedWorkers
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.load_balancing.balanced_endpoints import BalancedEndpoints
from worker_vllm.gateway.load_balancing.pool import WorkerAddress
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.fleet_routes import fleet_routes
from worker_vllm.gateway.server.server import GatewayServer, listen

KEY = {"Authorization": "Bearer edge-key"}
MIB = 1 << 20


@contextlib.asynccontextmanager
async def gateway_with(worker: FakeWorker) -> AsyncIterator[str]:
    """The address of a gateway that requires a key, with this worker behind the endpoint `a/b`."""
    options = GatewayOptions(balancer=replace(QUICK, request_s=30, response_bytes=100 * MIB))
    endpoints = BalancedEndpoints(options.balancer, asyncio.get_running_loop().time)
    balancer = endpoints.create("a/b")
    balancer.add("w", WorkerAddress(worker.url, f"{worker.url}/ping"))
    listener = listen("127.0.0.1", 0)
    mounts = [Mount("/lb", app=endpoints), *fleet_routes(AttachedWorkers())]
    server = GatewayServer(Gateway(options, key="edge-key"), listener, mounts=mounts)
    serving = asyncio.create_task(server.serve())
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        await serving
        await endpoints.aclose()


async def test_the_key_is_checked_before_a_worker_sees_anything() -> None:
    """401 for a request, a refusal for a WebSocket; with the key both pass."""
    async with fake_worker("w") as worker, gateway_with(worker) as url, aiohttp.ClientSession() as http:
        base = f"{url}/lb/a%2Fb"
        async with http.post(f"{base}/v1/x", data=b"body") as refused:
            assert refused.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(f"{base}/socket")
        assert worker.seen == []
        async with http.post(f"{base}/v1/x%2Fy?z=%20", data=b"body", headers=KEY) as passed:
            assert (passed.status, passed.headers["X-Runpod-Worker-Id"]) == (200, "w")
        async with http.ws_connect(f"{base}/socket", headers=KEY) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "w: hello"
        assert [path for _, path, _, _ in worker.seen] == ["/v1/x%2Fy?z=%20", "/socket"]


async def test_the_workers_api_is_behind_the_same_key() -> None:
    async with fake_worker("w") as worker, gateway_with(worker) as url, aiohttp.ClientSession() as http:
        async with http.get(f"{url}/console/api/workers") as refused:
            assert refused.status == 401
        async with http.get(f"{url}/console/api/workers", headers=KEY) as passed:
            assert await passed.json() == {"now": 0.0, "workers": [], "scaling": [], "events": []}
        for method, path, status in (("GET", "w/kill", 405), ("POST", "w/kill", 404), ("PUT", "w", 405)):
            async with http.request(method, f"{url}/console/api/workers/{path}", headers=KEY) as answer:
                assert (answer.status, list(await answer.json())) == (status, ["error"])


async def test_a_slow_reader_stops_the_worker_from_sending() -> None:
    """What lies between the two is bounded, however large the response is."""
    async with fake_worker("w") as worker, gateway_with(worker) as url, aiohttp.ClientSession() as http:
        size = 64 * MIB // 1000 * 1000
        async with http.get(f"{url}/lb/a%2Fb/zeros?size={size}", headers=KEY) as response:
            await response.content.read(1)
            before = -1
            while before != worker.sent:  # until the worker makes no progress for a while
                before = worker.sent
                await asyncio.sleep(0.3)
            assert worker.sent < size // 2
            assert len(await response.read()) == size - 1


async def test_a_slow_worker_stops_the_client_from_sending() -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(24):
            yield b"x" * MIB
            sent += 1

    async with fake_worker("w") as worker, gateway_with(worker) as url, aiohttp.ClientSession() as http:
        asking = asyncio.create_task(http.post(f"{url}/lb/a%2Fb/gate", data=pieces(), headers=KEY))
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 20
        worker.gate.set()
        async with await asking as response:
            assert (await response.json())["size"] == 24 * MIB
