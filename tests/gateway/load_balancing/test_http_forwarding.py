"""Requests through the load balancer on real sockets: what the worker sees, what the client gets, who serves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from tests.gateway.load_balancing.workers import QUICK, edge, edge_with, fake_worker
from worker_vllm.gateway.fleet.scaling import Load

ID = "X-Runpod-Worker-Id"


async def test_method_path_query_body_and_headers_reach_the_worker_and_the_key_does_not() -> None:
    async with edge_with("w") as (front, [worker]):
        sent = {"Authorization": "Bearer platform-key", "X-Own": "1", "TE": "trailers", ID: "w", "Host": "edge"}
        status, served, _ = await front.ask("PUT", "/v1/a%2Fb/../c?x=%20y&z", data=b"body", headers=sent)
        [(method, path, headers, body)] = worker.seen
        assert (status, served) == (200, "w")
        assert (method, path, body) == ("PUT", "/v1/c?x=%20y&z", b"body")
        assert headers["x-own"] == "1"
        assert headers["host"] == worker.url.removeprefix("http://")
        assert not set(headers) & {"authorization", "te", ID.lower()}


async def test_a_worker_gets_the_key_that_it_asks_for() -> None:
    async with edge() as front, fake_worker("w") as worker:
        front.add(worker, key="of-the-worker")
        await front.ready("w")
        await front.ask("GET", "/", headers={"Authorization": "Bearer platform-key"})
        assert worker.seen[0][2]["authorization"] == "Bearer of-the-worker"


async def test_least_connections() -> None:
    """Three requests are held by three workers; the fourth answers at once on whichever is free again."""
    async with edge_with("a", "b", "c", options=replace(QUICK, request_s=5)) as (front, workers):
        asked = [asyncio.create_task(front.ask("GET", "/hold")) for _ in range(6)]
        while [worker.held for worker in workers] != [2, 2, 2]:
            await asyncio.sleep(0.002)
        assert front.balancer.load() == Load(0, 6, 0.0)
        workers[1].gate.set()
        while workers[1].held:
            await asyncio.sleep(0.002)
        assert await front.ask("GET", "/") == (200, "b", {"worker": "b", "size": 0})
        for worker in workers:
            worker.gate.set()
        served = Counter(worker for _, worker, _ in await asyncio.gather(*asked))
        assert served == {"a": 2, "b": 2, "c": 2}
        assert front.balancer.load() == Load(0, 0, 0.0)


EDGE_ANSWERS = [
    ("no worker", {}, 400, {"error": "no workers available"}),
    ("strict", {ID: "strict w"}, 400, {"error": "timed out waiting for worker", "code": "worker_timeout"}),
    ("gone", {ID: "strict v"}, 404, {"error": 'worker "v" is gone', "code": "affinity_worker_gone"}),
]


@pytest.mark.parametrize(
    ("headers", "status", "payload"), [r[1:] for r in EDGE_ANSWERS], ids=[r[0] for r in EDGE_ANSWERS]
)
async def test_without_a_ready_worker(headers: dict[str, str], status: int, payload: dict[str, str]) -> None:
    """Its own answers when none becomes ready within the wait."""
    async with edge_with("w") as (front, [worker]):
        worker.status = 204
        await front.ready()
        assert await front.ask("GET", "/", headers=headers) == (status, "", payload)


async def test_a_request_waits_for_the_worker_that_initializes() -> None:
    async with edge_with("w", options=replace(QUICK, worker_wait_s=5)) as (front, [worker]):
        worker.status = 503
        await front.ready()
        asking = asyncio.create_task(front.ask("POST", "/", data=b"x"))
        while not front.balancer.load().waiting:
            await asyncio.sleep(0.002)
        worker.status = 200
        assert await asking == (200, "w", {"worker": "w", "size": 1})


async def test_affinity_keeps_a_client_at_its_worker() -> None:
    """Soft takes another when it is gone."""
    async with edge_with("a", "b") as (front, workers):
        asked = [await front.ask("GET", "/", headers={ID: "b"}) for _ in range(4)]
        assert [worker for _, worker, _ in asked] == ["b"] * 4
        workers[1].status = 503
        await front.ready("a")
        assert (await front.ask("GET", "/", headers={ID: "b"}))[1] == "a"


async def test_strict_resume_thaws_a_frozen_worker() -> None:
    async with edge_with("a", "b", options=replace(QUICK, affinity_wait_s=5)) as (front, _):
        front.balancer.freeze("b")
        assert (await front.ask("GET", "/", headers={ID: "b"}))[1] == "a"
        thawed: list[str] = []

        def thaw(worker_id: str) -> None:
            thawed.append(worker_id)
            front.balancer.thaw(worker_id)

        front.balancer.resume = thaw
        assert (await front.ask("GET", "/", headers={ID: "strict-resume b"}))[1] == "b"
        assert thawed == ["b"]


async def test_a_wrong_port_is_a_502_at_once() -> None:
    """The health path is fine, requests are refused."""
    async with edge() as front, fake_worker("w") as worker:
        async with fake_worker("closed") as closed:
            pass
        front.add(worker, requests=closed.url)
        await front.ready("w")
        status, _, payload = await front.ask("GET", "/")
        assert (status, payload["code"]) == (502, "wrong_port")
        assert closed.url in payload["error"]


async def test_a_worker_that_is_too_slow_is_a_524() -> None:
    async with edge_with("w") as (front, [worker]):
        status, _, payload = await front.ask("GET", "/hold")
        assert (status, payload) == (524, {"error": "the worker did not answer within 0.5 s", "code": "timeout"})
        while worker.aborted != 1:
            await asyncio.sleep(0.002)


SIZES = [
    ("a body of known length", "/", {"data": b"x" * 2001}, (413, "request_too_large")),
    ("a response of known length", "/zeros?size=3000&length", {}, (502, "response_too_large")),
]


@pytest.mark.parametrize(("path", "options", "expected"), [row[1:] for row in SIZES], ids=[row[0] for row in SIZES])
async def test_the_limit_each_way(path: str, options: dict[str, bytes], expected: tuple[int, str]) -> None:
    """30 MB on RunPod."""
    async with edge_with("w", options=replace(QUICK, body_bytes=2000, response_bytes=2000)) as (front, _):
        status, _, payload = await front.ask("POST", path, **options)
        assert (status, payload["code"]) == expected


async def test_bodies_of_unknown_length_are_counted() -> None:
    """Too long a request is a 413, too long a response is cut off."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000

    async with edge_with("w", options=replace(QUICK, body_bytes=2000, response_bytes=2000)) as (front, _):
        assert (await front.ask("POST", "/", data=pieces()))[0] == 413
        async with front.http.get(f"{front.url}/zeros?size=3000") as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_both_directions_are_streamed() -> None:
    """Each piece comes back before the next is sent."""
    echoed: asyncio.Queue[bytes] = asyncio.Queue()

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(4):
            yield b"piece %d" % number
            assert await echoed.get() == b"piece %d" % number

    async with edge_with("w", options=replace(QUICK, request_s=5)) as (front, _):
        async with front.http.post(f"{front.url}/stream", data=pieces()) as response:
            for _ in range(4):
                await echoed.put(await response.content.readany())


async def test_a_client_that_leaves_aborts_its_request() -> None:
    async with edge_with("w", options=replace(QUICK, request_s=5)) as (front, [worker]):
        asking = asyncio.create_task(front.ask("POST", "/hold", data=b"x"))
        while not worker.held:
            await asyncio.sleep(0.002)
        asking.cancel()
        while worker.aborted != 1 or front.balancer.load().running:
            await asyncio.sleep(0.002)


async def test_a_client_that_leaves_while_it_waits_is_forgotten() -> None:
    async with edge(replace(QUICK, worker_wait_s=5)) as front:
        asking = asyncio.create_task(front.ask("POST", "/", data=b"x"))
        while not front.balancer.load().waiting:
            await asyncio.sleep(0.002)
        asking.cancel()
        while front.balancer.load().waiting:
            await asyncio.sleep(0.002)


async def test_a_request_is_sent_again_when_its_worker_is_lost_before_it_answered() -> None:
    """To the next worker, as often as the option says; then 502."""
    async with edge_with("a", "b", options=replace(QUICK, resends=1)) as (front, workers):
        status, _, payload = await front.ask("POST", "/drop", data=b"x")
        assert (status, payload["code"]) == (502, "worker_lost")
        assert [worker.held for worker in workers] == [1, 1]


async def test_without_resends_as_runpod() -> None:
    async with edge_with("a", "b", options=replace(QUICK, resends=0)) as (front, workers):
        assert (await front.ask("POST", "/drop", data=b"x"))[0] == 502
        assert sum(worker.held for worker in workers) == 1


async def test_a_streamed_body_is_not_sent_again() -> None:
    async with edge_with("a", "b", options=replace(QUICK, held_bytes=10)) as (front, workers):
        assert (await front.ask("POST", "/drop", data=b"x" * 11))[0] == 502
        assert sum(worker.held for worker in workers) == 1


async def test_a_response_that_breaks_off_breaks_off_for_the_client() -> None:
    """Never repeated, never completed."""
    async with edge_with("a", "b") as (front, _), front.http.get(f"{front.url}/cut") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_requests_to_a_worker_that_is_gone_go_to_the_others() -> None:
    """Its port refuses before the next probe can tell; nothing was sent, so it is no resend."""
    async with edge_with("a", options=replace(QUICK, poll_s=60, resends=0)) as (front, _):
        async with fake_worker("b") as worker:
            front.add(worker)
            await front.ready("a", "b")
        assert [(await front.ask("GET", "/"))[1] for _ in range(4)] == ["a"] * 4


async def test_more_requests_than_may_wait_are_refused() -> None:
    async with edge(replace(QUICK, waiting_requests=1, worker_wait_s=5)) as front:
        asking = asyncio.create_task(front.ask("GET", "/"))
        while not front.balancer.load().waiting:
            await asyncio.sleep(0.002)
        assert (await front.ask("GET", "/"))[0] == 429
        asking.cancel()


async def test_another_endpoint_is_a_404_that_names_those_that_are_there() -> None:
    async with edge() as front:
        async with front.http.get(f"{front.url}x/ping") as response:
            assert response.status == 404
            assert (await response.json())["error"] == '"epx": no load-balancing endpoint; this gateway has ep'


async def test_a_late_answer_of_an_earlier_probe_does_not_count() -> None:
    """A probe that began before the worker failed must not bring it back."""
    async with edge(replace(QUICK, poll_s=60)) as front, fake_worker("w") as worker:
        front.add(worker)
        await front.ready("w")
        [pooled] = front.balancer.pool.workers()
        worker.slow_pings = 1
        early = asyncio.create_task(front.balancer.probe(pooled))
        while worker.slow_pings:
            await asyncio.sleep(0.002)
        worker.status = 503
        assert await front.balancer.probe(pooled) == 503
        worker.gate.set()
        assert await early == 200
        assert not pooled.serves
