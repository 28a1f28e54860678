"""What only time brings about, seen by the clients and workers that wait for it; no one asks twice."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace

import pytest

from tests.gateway.conftest import ANY_ENDPOINT, Open
from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http, parse_events
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import FleetPolicy, GatewayOptions, JobPolicy
from worker_vllm.gateway.server.server import GatewayServer, listen

RUN = "/v2/local/run"
SYNC = "/v2/local/status-sync/job1-u1"
QUICK = GatewayOptions(
    jobs=JobPolicy(execution_timeout_s=0.1, max_retries=1),
    fleet=FleetPolicy(ping_interval_s=0.1, least_silence_s=0.3, missed_pings=3),
)
NO_TIMEOUT = replace(QUICK, jobs=JobPolicy(max_retries=1))


@pytest.mark.parametrize(("fails", "status"), [(False, "TIMED_OUT"), (True, "FAILED")])
async def test_an_execution_timeout_ends_the_job_and_stops_its_worker(
    open_gateway: Open, fails: bool, status: str
) -> None:
    """Counted from its start; the waiting client is answered at once."""
    options = replace(QUICK, jobs=replace(QUICK.jobs, timeout_fails=fails))
    http = await open_gateway(options, clock=time.monotonic)
    worker = FakeWorker(http)
    await http.post(RUN, {"input": 1})
    await worker.take()
    ended, stops = await asyncio.gather(http.get(SYNC), worker.stops())
    assert ended.json["status"] == status
    assert ended.json["error"] == "the job ran longer than its execution timeout of 0.1 s"
    assert ended.json["executionTime"] >= 100
    assert stops.json == {"jobsToStop": ["job1-u1"]}
    assert (await http.post("/v2/local/retry/job1-u1")).json == {"id": "job1-u1", "status": "IN_QUEUE"}


async def test_a_time_to_live_that_is_over_makes_the_job_unknown(open_gateway: Open) -> None:
    """Also to a client that waits for it."""
    options = replace(QUICK, jobs=JobPolicy(ttl_s=0.1))
    http = await open_gateway(options, clock=time.monotonic)
    await http.post(RUN, {"input": 1})
    ended = await http.get(SYNC)
    words = 'job "job1-u1": not known here; it never existed or its result has expired'
    assert (ended.status, ended.json) == (404, {"error": words})


async def test_status_can_shorten_the_time_to_live(open_gateway: Open) -> None:
    """`?ttl=` in milliseconds, six seconds at least."""
    http = await open_gateway()
    await http.post(RUN, {"input": 1})
    assert (await http.get("/v2/local/status/job1-u1?ttl=6000")).json["status"] == "IN_QUEUE"
    refused = await http.get("/v2/local/status/job1-u1?ttl=5999")
    assert (refused.status, refused.json) == (400, {"error": "ttl='5999': expected 6000 to 604800000 milliseconds"})


async def test_a_silent_workers_job_goes_to_the_one_that_waits(open_gateway: Open) -> None:
    """After the missed pings, as a retry; the silent one's result still counts if it comes first."""
    http = await open_gateway(NO_TIMEOUT, clock=time.monotonic)
    silent, other = FakeWorker(http), FakeWorker(http, "w2")
    await http.post(RUN, {"input": 1})
    await silent.take()
    await silent.ping(["job1-u1"])
    given = (await other.take()).json
    assert given.pop("delayTime") > 0
    assert given == {"id": "job1-u1", "retries": 1, "input": 1}
    await silent.done("job1-u1", {"output": "late, but first"})
    assert (await other.stops()).json == {"jobsToStop": ["job1-u1"]}
    ended = (await http.get(SYNC)).json
    assert (ended["output"], ended["retries"], ended["workerId"]) == ("late, but first", 1, "w1")
    assert (await http.get("/v2/local/health")).json["jobs"]["retried"] == 1


async def test_a_resumed_worker_gets_its_stop_by_the_poll_it_held(open_gateway: Open) -> None:
    """Its record is new, its connection is not."""
    http = await open_gateway(NO_TIMEOUT, clock=time.monotonic)
    frozen, other = FakeWorker(http), FakeWorker(http, "w2")
    await http.post(RUN, {"input": 1})
    await frozen.take()
    await frozen.ping(["job1-u1"])
    polling = asyncio.create_task(frozen.stops())
    assert (await other.take()).json["retries"] == 1
    await frozen.ping(["job1-u1"])
    assert (await polling).json == {"jobsToStop": ["job1-u1"]}


async def test_a_worker_whose_connection_ended_is_lost(open_gateway: Open) -> None:
    """It never pinged: its poll's end is all there is to know."""
    http = await open_gateway(replace(NO_TIMEOUT, faults=True), clock=time.monotonic)
    await http.post("/faults", {"rules": [{"route": "job-stop"}]})  # counts the polls
    await http.post(RUN, {"input": 1})
    async with Http(http.url) as own:
        await FakeWorker(own).take()
        polling = asyncio.create_task(FakeWorker(own).stops())
        while not (await http.get("/faults")).json["rules"][0]["hits"]:
            await asyncio.sleep(0)
        polling.cancel()
    assert (await FakeWorker(http, "w2").take()).json["retries"] == 1


async def test_a_stream_that_a_client_began_to_read_is_not_run_again(open_gateway: Open) -> None:
    """It ends with an error instead, in the stream too."""
    http = await open_gateway(NO_TIMEOUT, clock=time.monotonic)
    worker = FakeWorker(http)
    asking = asyncio.create_task(http.post("/v2/local/openai/v1/chat/completions", {"stream": True}))
    await worker.take()
    await worker.piece("sync-job1-u1", "data: 1\n\n")
    await worker.ping(["sync-job1-u1"])
    message = 'worker "w1" was lost after a part of its answer was delivered; the job is not run again'
    error = {"message": message, "type": "InternalServerError", "param": None, "code": 500}
    assert parse_events((await asking).body) == [1, {"error": error}, "[DONE]"]


async def test_a_stopping_gateway_answers_what_it_holds(open_gateway: Open) -> None:
    """Workers get their 204, clients the state of their jobs."""
    ids = itertools.count(1)
    listener = listen("127.0.0.1", 0)
    server = GatewayServer(Gateway(ANY_ENDPOINT, new_id=lambda: f"job{next(ids)}"), listener)
    serving = asyncio.create_task(server.serve())
    async with Http(f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
        take = asyncio.create_task(FakeWorker(http).take())
        while (await http.get("/v2/local/health")).json["workers"]["ready"] != 1:
            await asyncio.sleep(0)
        stop = asyncio.create_task(FakeWorker(http).stops())
        other = asyncio.create_task(http.post("/v2/other/runsync", {"input": 1}))
        while not (await http.get("/v2/other/health")).json["jobs"]["inQueue"]:
            await asyncio.sleep(0)
        server.stop()
        assert [(await task).status for task in (take, stop)] == [204, 204]
        assert (await other).json == {"id": "sync-job1-u1", "status": "IN_QUEUE"}
    await serving
