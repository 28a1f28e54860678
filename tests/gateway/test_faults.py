"""Fault injection: each kind, as its client or worker sees it; cut connections by a proxy before the gateway."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import Open
from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from tests.support.platforms.fault_proxy import Cut, Reset, faulty
from worker_vllm.errors import RequestError
from worker_vllm.gateway.faults import Fault, read_plan
from worker_vllm.gateway.options import GatewayOptions

RUN = "/v2/local/run"
FAULTS = GatewayOptions(faults=True)


def plan(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"seed": 7, "rules": list(rules)}


async def test_faults_are_off_unless_asked_for(http: Http) -> None:
    """Without --faults the route does not exist."""
    assert (await http.post("/faults", plan())).status == 404


async def test_a_status_answers_in_place_of_the_gateway(open_gateway: Open) -> None:
    """So many times, and the request had no effect."""
    http = await open_gateway(FAULTS)
    await http.post("/faults", plan({"route": "run", "status": 503, "times": 2}))
    answers = [await http.post(RUN, {"input": 1}) for _ in range(3)]
    assert [(answer.status, answer.json) for answer in answers] == [
        (503, {"error": "injected"}),
        (503, {"error": "injected"}),
        (200, {"id": "job1-u1", "status": "IN_QUEUE"}),
    ]
    assert (await http.get("/faults")).json["rules"][0]["hits"] == 2
    await http.request("DELETE", "/faults")
    assert (await http.get("/faults")).json == {"seed": 0, "rules": []}


@pytest.mark.parametrize(("before", "ends_as"), [(True, "IN_PROGRESS"), (False, "COMPLETED")])
async def test_a_dropped_reply_leaves_the_worker_in_the_dark(http: Http, before: bool, ends_as: str) -> None:
    """Before: nothing happened. After: it happened, and the worker cannot know."""
    cut = Cut("job-done", before=before, times=1)
    async with faulty(http.url, cut) as proxy, Http(proxy.url) as cut_off:
        worker = FakeWorker(cut_off)
        await http.post(RUN, {"input": 1})
        await worker.take()
        with pytest.raises(aiohttp.ClientConnectionError):
            await worker.done("job1-u1", {"output": 1})
        assert (await http.get("/v2/local/status/job1-u1")).json["status"] == ends_as
        assert (await worker.done("job1-u1", {"output": 1})).status == 200
    assert (await http.get("/v2/local/health")).json["jobs"]["completed"] == 1


async def test_a_cut_poll_loses_no_job(http: Http) -> None:
    """The connection goes in the middle of the hold; the job goes to the next poll."""
    cut = Cut("job-take", held_s=0.02, times=2)  # aiohttp asks once more
    async with faulty(http.url, cut) as proxy, Http(proxy.url) as cut_off:
        worker = FakeWorker(cut_off)
        with pytest.raises(aiohttp.ClientConnectionError):
            await worker.take()
        await http.post(RUN, {"input": 1})
        assert (await worker.take()).json["id"] == "job1-u1"


@pytest.mark.parametrize(
    ("fault", "resets"), [(Cut("health", before=True), False), (Reset("health", before=True), True)]
)
async def test_a_reset_is_one_on_the_wire(http: Http, fault: Cut, resets: bool) -> None:
    """Its peer reads an error, not an orderly end."""
    async with faulty(f"{http.url}/v2/local", fault) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.split(":")[2].partition("/")[0]))
        writer.write(b"GET /v2/local/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        if resets:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        else:
            assert await reader.read() == b""
        writer.close()


async def test_latency_delays_the_request_itself(open_gateway: Open) -> None:
    """What comes meanwhile is not held up."""
    http = await open_gateway(FAULTS)
    await http.post("/faults", plan({"route": "run", "latency_s": 0.2, "times": 1}))
    slow = asyncio.create_task(http.post(RUN, {"input": "slow"}))
    while not (await http.get("/faults")).json["rules"][0]["hits"]:
        await asyncio.sleep(0)
    assert (await http.post(RUN, {"input": "quick"})).json["id"] == "job1-u1"
    assert (await slow).json["id"] == "job2-u1"


async def test_a_worker_process_gets_the_signal(open_gateway: Open) -> None:
    """Only one that this process started can."""
    http = await open_gateway(FAULTS)
    answer = await http.post("/faults/workers/w1", {"signal": "KILL"})
    assert (answer.status, answer.json) == (404, {"error": 'worker "w1": not a running process of this gateway'})
    assert (await http.post("/faults/workers/w1", {"signal": "HUP"})).json == {
        "error": 'expected {"signal": one of KILL, TERM, STOP, CONT}'
    }


def test_the_same_seed_gives_the_same_faults() -> None:
    """Of requests in the same order."""
    rule = {"route": "ping", "probability": 0.5, "status": 500}
    runs = [[read_plan(plan(rule)).decide("ping") for _ in range(1)] for _ in range(2)]
    again = [[one.decide("ping") for _ in range(50)] for one in (read_plan(plan(rule)), read_plan(plan(rule)))]
    assert runs[0] == runs[1]
    assert again[0] == again[1]
    assert {fault.status if fault else None for fault in again[0]} == {None, 500}


def test_latencies_add_up_and_the_first_other_rule_decides() -> None:
    """A far platform can also be a failing one."""
    read = read_plan(plan({"route": "*", "latency_s": 1}, {"route": "run", "latency_s": 2, "status": 502}))
    assert read.decide("run") == Fault(latency_s=3, status=502)
    assert read.decide("ping") == Fault(latency_s=1)
    assert read_plan(plan()).decide("run") is None


BAD = [
    [],
    {"rules": 1},
    {"seed": "x", "rules": []},
    plan({"status": 500}),
    plan({"route": "run", "typo": 1}),
    plan({"route": "run", "drop": "before"}),
    plan({"route": "run", "latency_s": -1}),
    plan({"route": "run", "status": "500"}),
    plan({"route": "run", "status": False}),
    plan({"route": "run", "status": 99}),
    plan({"route": "run", "times": 1.5}),
    plan({"route": "run", "probability": None}),
    plan({"route": "run", "probability": float("nan")}),
    plan({"route": "run", "latency_s": float("inf")}),
    plan({"route": "run", "latency_s": 10**400}),
    {"seed": True, "rules": []},
]


@pytest.mark.parametrize("payload", BAD)
def test_a_plan_that_makes_no_sense_is_refused(payload: Any) -> None:
    """A typo must not make a chaos run harmless."""
    with pytest.raises(RequestError):
        read_plan(payload)


def test_the_signals_are_the_ones_of_a_bad_day() -> None:
    """kill -9, SIGTERM, freeze and thaw."""
    from worker_vllm.gateway.api.fault_api import SIGNALS

    expected = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "STOP": signal.SIGSTOP, "CONT": signal.SIGCONT}
    assert expected == SIGNALS
