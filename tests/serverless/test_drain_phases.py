"""The phases of a stop: final events, final results, and the rest spooled or logged, whatever the platform does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import SETTINGS, MemoryPlatform
from worker_vllm.errors import EngineError
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.job_run import JobRun
from worker_vllm.serverless.delivery.post_rate import PostRateLimits, PostScheduler
from worker_vllm.serverless.delivery.stream_sender import StreamSender
from worker_vllm.serverless.drain_phases import DrainTimeouts, stopped_error

Job = Mapping[str, Any]
EVENT = Output(b"data: 1\n\n", sse=True, mergeable=True)
IN_BAND = Output(b'data: {"error": "the engine died"}\n\ndata: [DONE]\n\n', sse=True)
SHORT = DrainTimeouts(open_take_s=0.05, final_events_s=0.2, final_results_s=1.0, forced_s=0.3)


async def handler(job: Job) -> AsyncGenerator[Output, None]:
    """By the job's input: a stream that fails in-band, one that never ends, or an answer that never comes."""
    kind = job["input"]
    if kind != "answer":
        yield EVENT
    if kind == "fails":
        yield IN_BAND
        raise EngineError("the engine died")
    await asyncio.Event().wait()


def jobs(**kinds: int) -> list[dict[str, Any]]:
    return [{"id": f"{kind}-{n}", "input": kind} for kind, count in kinds.items() for n in range(count)]


async def test_final_events_in_flight_at_the_drains_end_cost_no_result(
    platform: MemoryPlatform, serve: Serve
) -> None:
    """The platform delays a failed stream's in-band error beyond the drain time: each job gets its own result."""
    release = asyncio.Event()

    async def delay(kind: str, job_id: str, body: Any) -> None:
        if kind == "stream" and "died" in str(body):
            await release.wait()

    platform.on_post = delay
    loop, running = serve(handler, DrainTimeouts(open_take_s=0.05), drain_timeout_s=0.1)
    given = jobs(fails=1, answer=12)
    await platform.give(*given)
    await platform.until(lambda: len(platform.takes) == 2)
    loop.drain()
    await platform.until(lambda: platform.is_done(*(job["id"] for job in given[1:])))
    release.set()
    await running
    assert [kind for kind, _ in platform.of("fails-0")] == ["stream", "stream", "done"]
    codes = {job["id"]: json.loads(platform.of(job["id"])[-1][1]["error"])["code"] for job in given}
    assert codes == {"fails-0": 500} | {f"answer-{n}": 503 for n in range(12)}


def ids(given: list[dict[str, Any]]) -> set[str]:
    return {job["id"] for job in given}


@pytest.mark.parametrize("delayed", ["stream", "done", "both"])
async def test_each_result_is_spooled_when_the_platform_stops_answering(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, delayed: str
) -> None:
    """Last words first, then the results in a time of their own, then the spool: 72 of 72, whatever hangs."""
    draining = False

    async def hang(kind: str, job_id: str, body: Any) -> None:
        if draining and delayed in (kind, "both"):
            await asyncio.Event().wait()

    platform.on_post = hang
    loop, running = serve(handler, SHORT, drain_timeout_s=0.1, spool_directory=str(tmp_path), max_concurrency=72)
    given = jobs(endless=36, answer=36)
    await platform.give(*given)
    await platform.until(lambda: len([post for post in platform.posts if post[0] == "stream"]) == 36)
    draining = True
    loop.drain()
    await running
    kept = {job["id"] for job in given if f"kept for the next start: job={job['id']} " in caplog.text}
    delivered = {job["id"] for job in given if platform.is_done(job["id"])}
    assert (kept, delivered) == ((set(), ids(given)) if delayed == "stream" else (ids(given), set()))
    assert ("stopping with 72 results undelivered" in caplog.text) == bool(kept)


async def test_a_forced_stop_fails_running_jobs_with_an_error(platform: MemoryPlatform, serve: Serve) -> None:
    """A second signal does not wait for the jobs, but posts for each that it was stopped."""
    loop, running = serve(handler, drain_timeout_s=60, max_concurrency=36)
    given = jobs(endless=18, answer=18)
    await platform.give(*given)
    await platform.until(lambda: not platform.jobs)
    loop.drain()
    loop.force()
    await running
    assert platform.is_done(*ids(given))


async def test_a_forced_stop_logs_each_undelivered_job(
    platform: MemoryPlatform, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Nowhere to keep it, and a platform that hangs: each job is an error in the log, and they are counted."""

    async def hang(kind: str, job_id: str, body: Any) -> None:
        await asyncio.Event().wait()

    platform.on_post = hang
    loop, running = serve(handler, SHORT, drain_timeout_s=60, max_concurrency=12)
    given = jobs(endless=6, answer=6)
    await platform.give(*given)
    await platform.until(lambda: not platform.jobs)
    loop.force()
    await running
    assert "stopping with 12 results undelivered: " in caplog.text
    for job in given:
        assert f"there is nowhere to keep it: job={job['id']} " in caplog.text


@pytest.mark.parametrize("started", [False, True])
async def test_a_job_can_be_failed_at_any_time(platform: MemoryPlatform, started: bool) -> None:
    """Before its first step, while it works, when it is over: it fails once, with the first reason."""
    clock = asyncio.get_running_loop().time
    sender = StreamSender(
        platform, protocol.Addresses.of(SETTINGS), PostScheduler(PostRateLimits(), clock), lambda: 0.0
    )
    job_run = JobRun({"id": "a", "input": "answer"}, handler, sender)
    running = asyncio.create_task(job_run.run(1.0))
    if started:
        await asyncio.sleep(0)
    job_run.fail(stopped_error())
    job_run.fail(EngineError("later"))
    outcome = await running
    job_run.fail(EngineError("too late"))
    assert str(outcome.error) == str(stopped_error())
