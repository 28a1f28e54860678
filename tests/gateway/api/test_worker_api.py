"""The worker's side: what the official SDK sends is understood, and every held poll is released by its event."""

from __future__ import annotations

import asyncio

from tests.gateway.conftest import Open
from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from worker_vllm.gateway.options import GatewayLimits, GatewayOptions, WaitTimeouts

RUN = "/v2/local/run"


async def test_a_take_gives_one_job_as_an_object_and_a_batch_an_array(http: Http, worker: FakeWorker) -> None:
    """Oldest first, exactly `application/json`, the client's input as it was."""
    for n in range(4):
        await http.post(RUN, {"input": {"n": n, "text": "é"}})
    one = await worker.take()
    assert one.headers["content-type"] == "application/json"
    assert one.json == {"id": "job1-u1", "delayTime": 0, "retries": 0, "input": {"n": 0, "text": "é"}}
    batch = await worker.take_batch(2)
    assert [job["id"] for job in batch.json] == ["job2-u1", "job3-u1"]
    assert [job["id"] for job in (await worker.take_batch(9)).json] == ["job4-u1"]


async def test_what_the_client_gave_for_the_worker_reaches_it(http: Http, worker: FakeWorker) -> None:
    """policy, webhook and s3Config travel; unknown keys are dropped; secrets never come back to clients."""
    extras = {"policy": {"executionTimeout": 5000}, "s3Config": {"accessSecret": "s3cret"}}
    await http.post(RUN, {"input": 1, **extras, "unknown": 1})
    assert (await worker.take()).json == {"id": "job1-u1", "delayTime": 0, "retries": 0, "input": 1, **extras}
    assert "s3cret" not in (await http.get("/v2/local/status/job1-u1")).body.decode()


async def test_a_job_says_how_long_it_waited(open_gateway: Open) -> None:
    """As `delayTime` in milliseconds, the one that its status shows."""
    now = [100.0]
    http = await open_gateway(clock=lambda: now[0])
    await http.post(RUN, {"input": 1})
    now[0] += 2.5
    given = (await FakeWorker(http).take()).json
    assert given["delayTime"] == 2500 == (await http.get("/v2/local/status/job1-u1")).json["delayTime"]


async def test_a_held_take_is_released_by_a_job(http: Http, worker: FakeWorker) -> None:
    """First come, first served among the workers that wait."""
    first = asyncio.create_task(worker.take())
    await _until_workers(http, 1)
    second = asyncio.create_task(FakeWorker(http, "w2").take_batch(8))
    await _until_workers(http, 2)
    await http.post(RUN, {"input": 1})
    assert (await first).json["id"] == "job1-u1"
    await http.post(RUN, {"input": 2})
    assert [job["id"] for job in (await second).json] == ["job2-u1"]


async def test_empty_polls_end_with_204(open_gateway: Open) -> None:
    """Without a body; the worker asks again."""
    http = await open_gateway(GatewayOptions(waits=WaitTimeouts(take_s=0.02, stop_s=0.02)))
    worker = FakeWorker(http)
    answers = [await worker.take(), await worker.take_batch(3), await worker.stops()]
    assert [(answer.status, answer.body) for answer in answers] == [(204, b"")] * 3


async def test_a_held_stop_is_released_by_a_cancel(http: Http, worker: FakeWorker) -> None:
    """Each job's stop is delivered once."""
    await http.post(RUN, {"input": 1})
    await worker.take()
    waiting = asyncio.create_task(worker.stops())
    await http.post("/v2/local/cancel/job1-u1")
    assert (await waiting).json == {"jobsToStop": ["job1-u1"]}


async def test_a_ping_that_lists_a_cancelled_job_brings_its_stop_again(http: Http, worker: FakeWorker) -> None:
    """A stop can be lost inside the SDK; its pings show that."""
    await http.post(RUN, {"input": 1})
    await worker.take()
    await http.post("/v2/local/cancel/job1-u1")
    assert (await worker.stops()).json == {"jobsToStop": ["job1-u1"]}
    await worker.ping(["job1-u1"])
    assert (await worker.stops()).json == {"jobsToStop": ["job1-u1"]}


async def test_late_reports_on_an_ended_job_change_nothing(http: Http, worker: FakeWorker) -> None:
    """Answered 200, as RunPod is believed to."""
    await http.post(RUN, {"input": 1})
    await worker.take()
    await http.post("/v2/local/cancel/job1-u1")
    before = (await http.get("/v2/local/status/job1-u1")).json
    late = [await worker.piece("job1-u1", "x"), await worker.done("job1-u1", {"output": 1})]
    assert [answer.status for answer in late] == [200, 200]
    assert (await http.get("/v2/local/status/job1-u1")).json == before


async def test_the_answer_to_late_results_is_an_option(open_gateway: Open) -> None:
    """400 is as plausible as 200."""
    http = await open_gateway(GatewayOptions(late_result_status=400))
    assert (await FakeWorker(http).done("job9-u1", {"output": 1})).status == 400


async def test_a_result_sent_twice_counts_once(http: Http, worker: FakeWorker) -> None:
    """job-done is idempotent: the answer to the first may have been lost."""
    await http.post(RUN, {"input": 1})
    await worker.take()
    assert [(await worker.done("job1-u1", {"output": n})).status for n in (1, 2)] == [200, 200]
    assert (await http.get("/v2/local/status/job1-u1")).json["output"] == 1
    assert (await http.get("/v2/local/health")).json["jobs"]["completed"] == 1


async def test_too_large_a_piece_is_refused(open_gateway: Open) -> None:
    """The stream goes on without it."""
    http = await open_gateway(GatewayOptions(limits=GatewayLimits(piece_bytes=100)))
    worker = FakeWorker(http)
    await http.post(RUN, {"input": 1})
    await worker.take()
    assert (await worker.piece("job1-u1", "x" * 100)).status == 400
    assert (await worker.piece("job1-u1", "x")).status == 200


async def test_too_large_a_result_completes_the_job_without_output(open_gateway: Open) -> None:
    """What the platform was seen to do: 400 for the worker, COMPLETED and nothing for the client."""
    http = await open_gateway(GatewayOptions(limits=GatewayLimits(result_bytes=100)))
    worker = FakeWorker(http)
    await http.post(RUN, {"input": 1})
    await worker.take()
    assert (await worker.done("job1-u1", {"output": "x" * 100})).status == 400
    shown = (await http.get("/v2/local/status/job1-u1")).json
    completed = {"delayTime": 0, "executionTime": 0, "id": "job1-u1", "status": "COMPLETED", "workerId": "w1"}
    assert shown == completed


async def test_a_worker_that_asked_to_be_replaced_gets_no_more_jobs(open_gateway: Open) -> None:
    """stopPod with a result; another worker serves what comes."""
    http = await open_gateway(GatewayOptions(waits=WaitTimeouts(take_s=0.02)))
    worker = FakeWorker(http)
    for _ in range(2):
        await http.post(RUN, {"input": 1})
    await worker.take()
    await worker.done("job1-u1", {"output": 1, "stopPod": True})
    assert (await worker.take()).status == 204
    assert (await FakeWorker(http, "w2").take()).json["id"] == "job2-u1"


async def test_a_take_that_hangs_up_loses_no_job(http: Http, worker: FakeWorker) -> None:
    """The next taker gets it, as if nothing had happened."""
    held = asyncio.create_task(worker.take())
    await _until_workers(http, 1)
    held.cancel()
    await asyncio.wait((held,))
    await http.post(RUN, {"input": 1})
    assert (await FakeWorker(http, "w2").take()).json["id"] == "job1-u1"


async def test_bodies_that_make_no_sense_are_refused(http: Http, worker: FakeWorker) -> None:
    """The message states what was expected."""
    await http.post(RUN, {"input": 1})
    await worker.take()
    answers = [await worker.piece("job1-u1", b"{"), await worker.done("job1-u1", b"[]"), await worker.take_batch(0)]
    assert [(answer.status, answer.json["error"]) for answer in answers] == [
        (400, "the body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (400, "the body is JSON of type list: expected an object"),
        (400, 'batch_size="0": expected a whole number from 1 to 10000'),
    ]


async def _until_workers(http: Http, count: int) -> None:
    """Until so many workers have made themselves known."""
    while (await http.get("/v2/local/health")).json["workers"]["ready"] < count:
        await asyncio.sleep(0)
