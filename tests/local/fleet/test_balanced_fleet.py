"""Http-mode workers behind the load balancer as processes: affinity, drain, kill and freeze under traffic."""

from __future__ import annotations

import pytest

from tests.local.fleet.stack import fleet
from tests.local.fleet.traffic import ID, traffic
from tests.support.http import Http

COMPLETIONS = "/lb/local/v1/completions"
HTTP = ("--mode", "http", "--set", "balancer.poll_s=0.1")

pytestmark = pytest.mark.timeout(90)


async def test_drain_and_kill_under_constant_traffic_lose_nothing() -> None:
    """A drained worker, then a killed one, each replaced: every request has its own answer."""
    async with fleet("--workers", "3", *HTTP, environment={"ECHO_TPOT_MS": "1"}) as stack:
        await stack.until_serving(3)
        async with traffic(stack, 8) as clients:
            await clients.more(200)
            assert (await stack.operate("worker-1", "drain")).status == 202
            await stack.until_gone("worker-1")
            await clients.more(200)
            assert (await stack.operate("worker-2", "kill")).status == 202
            await stack.until_gone("worker-2")
            await clients.more(200)
            await stack.until_serving(3)
            await clients.more(200)
        assert clients.lost == []
        first, replacements = {"worker-1", "worker-2", "worker-3"}, set(await stack.workers()) - {"worker-3"}
        assert set(clients.answered) == first | replacements


async def test_streams_survive_a_drain() -> None:
    """A drained worker ends its streams; no stream is cut."""
    async with fleet("--workers", "2", *HTTP, environment={"ECHO_TPOT_MS": "10"}) as stack:
        await stack.until_serving(2)
        async with traffic(stack, 6, stream=True) as clients:
            await clients.more(30)
            assert (await stack.operate("worker-1", "drain")).status == 202
            await stack.until_gone("worker-1")
            await clients.more(30)
        assert clients.lost == []


async def test_affinity_and_a_frozen_worker() -> None:
    """A client stays at its worker; a strict one waits for it, and strict-resume thaws it."""
    async with fleet("--workers", "2", *HTTP, "--set", "balancer.affinity_wait_s=1") as stack:
        await stack.until_serving(2)
        prompt = {"model": "echo", "prompt": "stay", "max_tokens": 4}
        async with (
            Http(stack.http.url, {ID: "worker-2"}) as soft,
            Http(stack.http.url, {ID: "strict worker-2"}) as strict,
        ):
            served = [(await soft.post(COMPLETIONS, prompt)).headers[ID.lower()] for _ in range(5)]
            assert served == ["worker-2"] * 5
            await stack.operate("worker-2", "freeze")
            assert (await soft.post(COMPLETIONS, prompt)).headers[ID.lower()] != "worker-2"
            late = await strict.post(COMPLETIONS, prompt)
            assert (late.status, late.json["code"]) == (400, "worker_timeout")
        async with Http(stack.http.url, {ID: "strict-resume worker-2"}) as resuming:
            answer = await resuming.post(COMPLETIONS, prompt)
            assert (answer.status, answer.headers[ID.lower()]) == (200, "worker-2")
        assert "thawed" in await stack.events("worker-2")


async def test_open_requests_scale_the_fleet() -> None:
    """One request for each worker; back to one when they are idle."""
    scaling = ("--set", "scaling.value=1", "--set", "scaling.idle_timeout_s=1")
    async with fleet("--workers", "1:3", *HTTP, *scaling, environment={"ECHO_TPOT_MS": "20"}) as stack:
        async with traffic(stack, 3) as clients:
            await stack.until_serving(3)
            await clients.more(20)
        await stack.until(idle=1)
        assert clients.lost == []


async def test_from_zero_to_zero_and_again() -> None:
    """A request waits for the cold start of the worker that it causes."""
    async with fleet("--workers", "0:2", *HTTP, "--set", "scaling.idle_timeout_s=0.5") as stack:
        for _ in range(2):
            await stack.until()
            answer = await stack.http.post(COMPLETIONS, {"model": "echo", "prompt": "wake", "max_tokens": 4})
            assert (answer.status, answer.json["choices"][0]["text"]) == (200, "wake")
        [worker] = (await stack.workers()).values()
        assert worker["cold_start_s"] > 0


async def test_the_key_of_the_gateway_is_checked_at_the_edge_and_the_workers_have_another() -> None:
    """401 without it; past the gateway, a worker does not take it."""
    async with fleet("--workers", "1", *HTTP, environment={"GATEWAY_API_KEY": "edge-key"}) as stack:
        assert (await stack.http.get("/lb/local/v1/models")).status == 401
        async with Http(stack.http.url, {"Authorization": "Bearer edge-key"}) as client:
            assert (await client.get("/lb/local/v1/models")).status == 200
            [worker] = (await client.get("/console/api/workers")).json["workers"]
        async with Http(worker["url"], {"Authorization": "Bearer edge-key"}) as past:
            assert (await past.get("/v1/models")).status == 401


async def test_settings_that_cannot_work_end_the_start_with_the_reason() -> None:
    failing = {"ECHO_START_LOG": "error: unrecognized arguments: --zip", "ECHO_START_EXIT": "2"}
    with pytest.raises(AssertionError, match="this engine has no option --zip"):
        async with fleet("--workers", "1", *HTTP, environment=failing):
            pass
