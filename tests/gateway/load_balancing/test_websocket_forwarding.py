"""WebSockets through the load balancer: messages both ways, close codes, refusals."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from tests.gateway.load_balancing.workers import QUICK, edge, edge_with, fake_worker

ID = "X-Runpod-Worker-Id"


async def test_messages_pass_both_ways_and_the_key_does_not() -> None:
    async with edge_with("a", "b") as (front, [_, worker]):
        headers = {"Authorization": "Bearer platform-key", ID: "b", "X-Own": "1"}
        async with front.http.ws_connect(f"{front.url}/socket?q=1", protocols=("chat",), headers=headers) as socket:
            assert socket.protocol == "chat"
            for text in ("one", "two"):
                await socket.send_str(text)
                assert await socket.receive_str() == f"b: {text}"
            await socket.send_bytes(b"\x00\xff" * 1000)
            assert await socket.receive_bytes() == b"\x00\xff" * 1000
        [(_, path, seen, _)] = worker.seen
        assert (path, seen["x-own"]) == ("/socket?q=1", "1")
        assert not set(seen) & {"authorization", ID.lower()}
        while front.balancer.load().running:
            await front.balancer.drained("b")


async def test_the_worker_closes() -> None:
    """Its code reaches the client."""
    async with edge_with("w") as (front, _), front.http.ws_connect(f"{front.url}/socket") as socket:
        await socket.send_str("bye")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4001


@pytest.mark.parametrize(("health", "status"), [(200, 502), (404, 404)])
async def test_a_path_without_a_websocket_is_refused(health: int, status: int) -> None:
    """With the worker's own status, where that is an error."""
    async with edge_with("w", options=replace(QUICK, poll_s=60)) as (front, [worker]):
        worker.status = health
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await front.http.ws_connect(f"{front.url}/ping")
        assert refused.value.status == status


async def test_without_a_worker_it_is_refused() -> None:
    async with edge() as front:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await front.http.ws_connect(f"{front.url}/socket")
        assert refused.value.status == 400


async def test_a_worker_that_is_gone_is_passed_over() -> None:
    """Its port refuses before the next probe can tell."""
    async with edge_with("a", options=replace(QUICK, poll_s=60)) as (front, _):
        async with fake_worker("b") as worker:
            front.add(worker)
            await front.ready("a", "b")
        for _ in range(3):
            async with front.http.ws_connect(f"{front.url}/socket") as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "a: hello"


async def test_a_client_that_leaves_closes_the_workers_side() -> None:
    """Nothing stays open, and the worker counts as idle."""
    async with edge_with("w") as (front, [worker]):
        socket = await front.http.ws_connect(f"{front.url}/socket")
        await socket.send_str("hello")
        await socket.receive_str()
        assert front.balancer.load().running == 1
        await socket.close()
        await front.balancer.drained("w")
        while worker.sockets:
            await asyncio.sleep(0.002)
