"""RunPod's public API: every payload whole, every wait released by the event it waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.conftest import Open
from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from worker_vllm.gateway.options import GatewayLimits, GatewayOptions, WaitTimeouts

RUN = "/v2/local/run"
RUNSYNC = "/v2/local/runsync"
NO_WORKERS = {"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0}


async def test_run_queues_a_job_and_status_follows_it_to_its_end(http: Http, worker: FakeWorker) -> None:
    """IN_QUEUE without times, IN_PROGRESS with its delay and worker, COMPLETED with everything."""
    assert (await http.post(RUN, {"input": {"a": 1}})).json == {"id": "job1-u1", "status": "IN_QUEUE"}
    assert (await http.get("/v2/local/status/job1-u1")).json == {"id": "job1-u1", "status": "IN_QUEUE"}
    await worker.take()
    held = {"delayTime": 0, "id": "job1-u1", "status": "IN_PROGRESS", "workerId": "w1"}
    assert (await http.get("/v2/local/status/job1-u1")).json == held
    await worker.done("job1-u1", {"output": [1]})
    done = {**held, "executionTime": 0, "output": [1], "status": "COMPLETED"}
    assert (await http.post("/v2/local/status/job1-u1")).json == done


async def test_a_status_shows_progress_until_the_result_replaces_it(http: Http, worker: FakeWorker) -> None:
    """progress_update's body is a job-done with status IN_PROGRESS."""
    await http.post(RUN, {"input": 1})
    await worker.take()
    await worker.done("job1-u1", {"status": "IN_PROGRESS", "output": "half"})
    assert (await http.get("/v2/local/status/job1-u1")).json["output"] == "half"
    await worker.done("job1-u1", {"output": "whole"})
    assert (await http.get("/v2/local/status/job1-u1")).json["output"] == "whole"


async def test_half_an_emoji_goes_in_and_comes_out(http: Http, worker: FakeWorker) -> None:
    """A lone surrogate is valid JSON but no UTF-8: it travels as the escape that it came as."""
    half = "\ud83e"
    asked = asyncio.create_task(http.post(RUNSYNC, {"input": {"prompt": half}}))
    assert (await worker.take()).json["input"] == {"prompt": half}
    await worker.done("sync-job1-u1", b'{"output": "\\ud83e"}')
    assert (await asked).json["output"] == half


RESULTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("an output", {"output": {"x": None}}, {"output": {"x": None}, "status": "COMPLETED"}),
    ("a generator's outputs", {"output": ["a", "b"]}, {"output": ["a", "b"], "status": "COMPLETED"}),
    ("nothing", {}, {"status": "COMPLETED"}),
    ("null", {"output": None}, {"output": None, "status": "COMPLETED"}),
    ("an error", {"error": "boom"}, {"error": "boom", "status": "FAILED"}),
    ("an error that is no text", {"error": {"b": 1}}, {"error": '{"b":1}', "status": "FAILED"}),
    ("rest and error", {"output": 1, "error": "boom"}, {"error": "boom", "output": 1, "status": "FAILED"}),
    ("an empty error", {"output": 1, "error": ""}, {"output": 1, "status": "COMPLETED"}),
]


@pytest.mark.parametrize(("body", "shown"), [row[1:] for row in RESULTS], ids=[row[0] for row in RESULTS])
async def test_runsync_answers_with_the_result(
    http: Http, worker: FakeWorker, body: dict[str, Any], shown: dict[str, Any]
) -> None:
    """HTTP 200 whatever became of the job; absent stays absent, null stays null."""
    waiting = asyncio.create_task(http.post(RUNSYNC, {"input": {}}))
    taken = (await worker.take()).json
    assert taken == {"id": "sync-job1-u1", "delayTime": 0, "input": {}, "retries": 0}
    await worker.done(taken["id"], body)
    answer = await waiting
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json == {"delayTime": 0, "executionTime": 0, "id": "sync-job1-u1", "workerId": "w1", **shown}


async def test_runsync_gives_the_job_back_when_its_wait_is_over(open_gateway: Open) -> None:
    """The id and the state come back; the job goes on."""
    http = await open_gateway(GatewayOptions(waits=WaitTimeouts(runsync_s=0.05)))
    assert (await http.post(RUNSYNC, {"input": 1})).json == {"id": "sync-job1-u1", "status": "IN_QUEUE"}
    await FakeWorker(http).take()
    held = (await http.get("/v2/local/status-sync/sync-job1-u1")).json
    assert held == {"delayTime": 0, "id": "sync-job1-u1", "status": "IN_PROGRESS", "workerId": "w1"}


async def test_status_sync_is_released_by_the_jobs_end(http: Http, worker: FakeWorker) -> None:
    """GET, as the JavaScript client asks, and POST, as the Go client does."""
    await http.post(RUN, {"input": 1})
    waiting = [
        asyncio.create_task(http.request(method, "/v2/local/status-sync/job1-u1")) for method in ("GET", "POST")
    ]
    await worker.take()
    await worker.done("job1-u1", {"output": 7})
    assert [(await task).json["output"] for task in waiting] == [7, 7]


async def test_stream_hands_each_piece_over_once_and_ends_with_the_last(http: Http, worker: FakeWorker) -> None:
    """Held until there is a piece; what is left comes together with the terminal status."""
    await http.post(RUN, {"input": 1})
    await worker.take()
    waiting = asyncio.create_task(http.get("/v2/local/stream/job1-u1"))
    await worker.piece("job1-u1", "é")
    first = await waiting
    assert first.json == {"status": "IN_PROGRESS", "stream": [{"output": "é"}]}
    await worker.piece("job1-u1", {"n": 2})
    await worker.piece("job1-u1", [3])
    await worker.done("job1-u1", {"output": ["é", {"n": 2}, [3]]})
    rest = {"status": "COMPLETED", "stream": [{"output": {"n": 2}}, {"output": [3]}]}
    assert (await http.post("/v2/local/stream/job1-u1?wait=90000")).json == rest
    assert (await http.get("/v2/local/stream/job1-u1")).json == {"status": "COMPLETED", "stream": []}


async def test_cancel_ends_a_queued_and_a_running_job(http: Http, worker: FakeWorker) -> None:
    """At once, whatever the worker does about it; an ended job keeps its state."""
    for _ in range(3):
        await http.post(RUN, {"input": 1})
    await worker.take_batch(2)
    await worker.done("job1-u1", {"output": 1})
    answers = [(await http.post(f"/v2/local/cancel/job{n}-u1")).json for n in (1, 2, 3)]
    assert answers == [
        {"id": "job1-u1", "status": "COMPLETED"},
        {"id": "job2-u1", "status": "CANCELLED"},
        {"id": "job3-u1", "status": "CANCELLED"},
    ]
    assert (await worker.stops()).json == {"jobsToStop": ["job2-u1"]}
    cancelled = {"delayTime": 0, "executionTime": 0, "id": "job2-u1", "status": "CANCELLED", "workerId": "w1"}
    assert (await http.get("/v2/local/status/job2-u1")).json == cancelled
    assert (await http.get("/v2/local/status/job3-u1")).json == {"id": "job3-u1", "status": "CANCELLED"}


async def test_retry_runs_a_failed_job_again_under_its_id(http: Http, worker: FakeWorker) -> None:
    """Same input, old result gone; other states refuse."""
    await http.post(RUN, {"input": {"a": 1}})
    refused = await http.post("/v2/local/retry/job1-u1")
    message = 'job "job1-u1" is IN_QUEUE: only FAILED and TIMED_OUT jobs can be retried'
    assert (refused.status, refused.json) == (400, {"error": message})
    await worker.take()
    await worker.done("job1-u1", {"error": "no"})
    assert (await http.post("/v2/local/retry/job1-u1")).json == {"id": "job1-u1", "status": "IN_QUEUE"}
    assert (await http.get("/v2/local/status/job1-u1")).json == {"id": "job1-u1", "status": "IN_QUEUE"}
    assert (await worker.take()).json == {"id": "job1-u1", "delayTime": 0, "input": {"a": 1}, "retries": 0}


async def test_purge_removes_only_what_waits(http: Http, worker: FakeWorker) -> None:
    """Answers with their number; the running job is left alone."""
    for _ in range(3):
        await http.post(RUN, {"input": 1})
    await worker.take()
    assert (await http.post("/v2/local/purge-queue")).json == {"removed": 2, "status": "completed"}
    assert (await http.get("/v2/local/status/job1-u1")).json["status"] == "IN_PROGRESS"
    assert (await http.get("/v2/local/status/job2-u1")).json["status"] == "CANCELLED"


async def test_health_and_metrics_count_jobs_and_workers_by_state(http: Http, worker: FakeWorker) -> None:
    """All the integers that the official clients require, always."""
    empty = {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0}
    assert (await http.get("/v2/local/health")).json == {"jobs": empty, "workers": NO_WORKERS}
    for _ in range(4):
        await http.post(RUN, {"input": 1})
    await worker.take_batch(3)
    await FakeWorker(http, "w2").ping()
    await FakeWorker(http, "w3").ping(more="&status=unhealthy&check=gpu&reason=no+device")
    await worker.done("job1-u1", {"output": 1})
    await worker.done("job2-u1", {"error": "no"})
    workers = {**NO_WORKERS, "idle": 1, "ready": 2, "running": 1, "unhealthy": 1}
    jobs = {"completed": 1, "failed": 1, "inProgress": 1, "inQueue": 1, "retried": 0}
    reports = [{"worker": "w3", "check": "gpu", "reason": "no device"}]
    assert (await http.get("/v2/local/health")).json == {"jobs": jobs, "workers": workers, "unhealthy": reports}
    assert (await http.get("/v2/local/metrics")).json == {"readyWorkers": ["w1", "w2"], "workers": workers}


REFUSALS: list[tuple[str, str, str, Any, int, str]] = [
    ("no JSON", "POST", RUN, b"{", 400, "the body is not JSON: Expecting property name enclosed in double quotes"),
    ("too deep", "POST", RUNSYNC, b"[" * 5000, 400, "the body is not JSON: maximum recursion depth exceeded"),
    ("no input", "POST", RUN, {"x": 1}, 400, 'the body has no "input": expected {"input": …}'),
    ("no object", "POST", RUNSYNC, [1], 400, 'the body has no "input": expected {"input": …}'),
    ("too large", "POST", RUN, b"x" * 101, 400, "the body is larger than 100 bytes: send less, or a reference to it"),
    ("bad wait", "POST", f"{RUNSYNC}?wait=soon", {"input": 1}, 400, 'wait="soon": expected milliseconds'),
    (
        "bad timeout",
        "POST",
        RUN,
        {"input": 1, "policy": {"executionTimeout": 1}},
        400,
        "executionTimeout=1: expected",
    ),
    ("bad ttl", "POST", RUN, {"input": 1, "policy": {"ttl": "x"}}, 400, "ttl='x': expected milliseconds"),
    ("bad policy", "POST", RUN, {"input": 1, "policy": 3}, 400, '"policy" is of type int: expected an object'),
    ("bad webhook", "POST", RUN, {"input": 1, "webhook": "file:///x"}, 400, "webhook='file:///x': expected an http"),
    ("unknown job", "GET", "/v2/local/status/nope", None, 404, 'job "nope": not known here'),
    ("unknown operation", "GET", "/v2/local/nope", None, 404, '"nope": no operation of an endpoint'),
    ("unknown path", "GET", "/nope", None, 404, "/nope: expected /v2/{endpoint}/{operation}"),
    ("wrong method", "GET", RUN, None, 405, "GET /v2/local/run: expected POST"),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row[0] for row in REFUSALS])
async def test_what_cannot_be_served_is_refused_with_the_reason(open_gateway: Open, row: tuple[Any, ...]) -> None:
    """One sentence under `error`, and the documented status."""
    _, method, path, body, status, message = row
    http = await open_gateway(GatewayOptions(limits=GatewayLimits(run_bytes=100)))
    answer = await http.request(method, path, body)
    assert (answer.status, set(answer.json)) == (status, {"error"})
    assert answer.json["error"].startswith(message)


async def test_a_full_queue_answers_429(open_gateway: Open) -> None:
    """Nothing grows without bound."""
    http = await open_gateway(GatewayOptions(limits=GatewayLimits(queued_jobs=1)))
    await http.post(RUN, {"input": 1})
    full = await http.post(RUN, {"input": 1})
    assert (full.status, full.json) == (429, {"error": "the queue is full: 1 jobs wait; try again later"})


async def test_endpoints_are_apart(http: Http) -> None:
    """Any name is an endpoint; a worker of one never sees a job of another."""
    await http.post("/v2/one/run", {"input": 1})
    await http.post("/v2/two/run", {"input": 2})
    assert (await FakeWorker(http, endpoint="two").take()).json["input"] == 2
