"""Workers of a load-balancing endpoint as servers in this process, and a client of the balancer in front of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvicorn
from aiohttp import web

from tests.support.asgi import serving
from worker_vllm.gateway.load_balancing.balanced_endpoints import BalancedEndpoints
from worker_vllm.gateway.load_balancing.balancer import LoadBalancer
from worker_vllm.gateway.load_balancing.pool import WorkerAddress
from worker_vllm.gateway.options import BalancerOptions

QUICK = BalancerOptions(worker_wait_s=0.3, affinity_wait_s=0.3, request_s=0.5, poll_s=0.01)


@dataclass(slots=True)
class FakeWorker:
    """A worker with a health status to set, a gate that holds requests, and everything that it has seen."""

    name: str
    status: int = 200
    url: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    held: int = 0  # requests that wait at the gate
    slow_pings: int = 0  # how many probes wait at the gate
    sockets: int = 0  # open WebSockets
    sent: int = 0  # bytes of `zeros`
    aborted: int = 0  # requests whose connection broke while they waited

    async def ping(self, request: web.Request) -> web.Response:
        status = self.status
        if self.slow_pings:
            self.slow_pings -= 1
            await self.gate.wait()
        return web.Response(status=status)

    async def echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen.append((request.method, request.raw_path, _lowered(request), body))
        return web.json_response({"worker": self.name, "size": len(body)})

    async def hold(self, request: web.Request) -> web.Response:
        await request.read()
        self.held += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.held -= 1
        return web.json_response({"worker": self.name})

    async def take_late(self, request: web.Request) -> web.Response:
        """Read the body only once the gate is open."""
        await self.gate.wait()
        return web.json_response({"size": sum([len(piece) async for piece in request.content.iter_any()])})

    async def drop(self, request: web.Request) -> web.Response:
        """Close the connection without an answer."""
        await request.read()
        self.held += 1
        assert request.transport is not None
        request.transport.abort()
        raise asyncio.CancelledError

    async def cut(self, request: web.Request) -> web.StreamResponse:
        """Begin a response and close the connection in the middle of it."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        assert request.transport is not None
        request.transport.abort()
        raise asyncio.CancelledError

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer with each piece of the body as it arrives."""
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    async def zeros(self, request: web.Request) -> web.StreamResponse:
        """So many bytes, with or without their length in the head."""
        response = web.StreamResponse()
        size = int(request.query["size"])
        if "length" in request.query:
            response.content_length = size
        await response.prepare(request)
        for _ in range(size // 1000):
            await response.write(b"0" * 1000)
            self.sent += 1000
        return response

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Repeat each message with this worker's name; `bye` closes with 4001."""
        self.seen.append((request.method, request.raw_path, _lowered(request), b""))
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        self.sockets += 1
        async for message in socket:
            if message.data == "bye":
                await socket.close(code=4001)
            elif message.type is aiohttp.WSMsgType.TEXT:
                await socket.send_str(f"{self.name}: {message.data}")
            else:
                await socket.send_bytes(message.data)
        self.sockets -= 1
        return socket


def _lowered(request: web.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


@contextlib.asynccontextmanager
async def fake_worker(name: str) -> AsyncIterator[FakeWorker]:
    """A worker on a port of its own."""
    worker = FakeWorker(name)
    app = web.Application(handler_args={"handler_cancellation": True}, client_max_size=1 << 30)
    app.router.add_get("/ping", worker.ping)
    for path in ("hold", "drop", "cut", "stream", "zeros"):
        app.router.add_route("*", f"/{path}", getattr(worker, path))
    app.router.add_route("*", "/gate", worker.take_late)
    app.router.add_get("/socket", worker.socket)
    app.router.add_route("*", "/{any:.*}", worker.echo)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    worker.url = f"http://{host}:{port}"
    try:
        yield worker
    finally:
        worker.gate.set()
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Edge:
    """The balancer behind a server, and a client of it whose paths begin below the endpoint."""

    balancer: LoadBalancer
    http: aiohttp.ClientSession
    url: str

    def add(self, worker: FakeWorker, *, requests: str = "", key: str = "") -> None:
        """Add a worker; `requests` where its requests go elsewhere than its health."""
        self.balancer.add(worker.name, WorkerAddress(requests or worker.url, f"{worker.url}/ping", key))

    async def ready(self, *names: str) -> None:
        """Wait until exactly these workers get requests."""
        while {worker.id for worker in self.balancer.pool.workers() if worker.serves} != set(names):
            await asyncio.sleep(0.002)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, str, Any]:
        """Status, worker and JSON body of an answer."""
        async with self.http.request(method, self.url + path, **options) as response:
            return response.status, response.headers.get("X-Runpod-Worker-Id", ""), await response.json()


@contextlib.asynccontextmanager
async def edge(options: BalancerOptions = QUICK) -> AsyncIterator[Edge]:
    """A balancer of the endpoint `ep` behind uvicorn."""
    loop = asyncio.get_running_loop()
    endpoints = BalancedEndpoints(options, loop.time)
    balancer = endpoints.create("ep")
    config = uvicorn.Config(endpoints, log_level="critical", lifespan="off", ws="websockets-sansio")
    try:
        async with serving(config) as url, aiohttp.ClientSession() as http:
            yield Edge(balancer, http, f"{url}/lb/ep")
    finally:
        await endpoints.aclose()


@contextlib.asynccontextmanager
async def edge_with(*names: str, options: BalancerOptions = QUICK) -> AsyncIterator[tuple[Edge, list[FakeWorker]]]:
    """A balancer with ready workers of these names."""
    async with contextlib.AsyncExitStack() as stack:
        front = await stack.enter_async_context(edge(options))
        workers = [await stack.enter_async_context(fake_worker(name)) for name in names]
        for worker in workers:
            front.add(worker)
        await front.ready(*names)
        yield front, workers
