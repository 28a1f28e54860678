"""Cancel, time limits, drain and recycling."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import OK, MemoryPlatform
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless.http.connection import PlatformAnswer

Job = Mapping[str, Any]


class Endless:
    """A handler whose jobs yield one event and then never end; it counts the open ones."""

    def __init__(self, *first: Output) -> None:
        self.open = 0
        self.closed = asyncio.Event()
        self._first = first

    async def __call__(self, job: Job) -> AsyncGenerator[Output, None]:
        self.open += 1
        try:
            for output in self._first:
                yield output
            await asyncio.Event().wait()
        finally:
            self.open -= 1
            self.closed.set()


EVENT = Output(b"data: 1\n\n", sse=True, mergeable=True)


async def test_a_stop_while_a_post_is_out_ends_the_job_at_once(platform: MemoryPlatform, serve: Serve) -> None:
    """The engine's answer is closed although the platform has not answered yet; nothing is posted afterwards."""
    began = asyncio.Event()

    async def never(kind: str, job_id: str, body: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    handler = Endless(EVENT, EVENT)
    platform.on_post = never
    loop, _ = serve(handler)
    await platform.give({"id": "a", "input": {}})
    await began.wait()
    await platform.stop("a")
    await handler.closed.wait()
    while loop.job_ids:
        await asyncio.sleep(0)
    assert platform.posts == []


async def test_a_stop_that_overtakes_its_job_is_remembered(platform: MemoryPlatform, serve: Serve) -> None:
    """The job never starts, and the slot is free for the next."""
    handler = Endless()
    serve(handler)
    await platform.stop("a")
    await platform.until(lambda: not platform.stops)
    await asyncio.sleep(0)
    await platform.give({"id": "a", "input": {}}, {"id": "b", "input": {}})
    await platform.until(lambda: len(platform.takes) == 2)
    assert handler.open == 1


async def test_a_stop_in_the_same_breath_as_its_take_is_obeyed(platform: MemoryPlatform, serve: Serve) -> None:
    """Whichever answer is read first: a job cancelled before its first step leaves nothing behind."""
    handler = Endless()
    loop, _ = serve(handler)
    for _ in range(20):
        await platform.give({"id": "a", "input": {}})
        await platform.stop("a")
        await platform.until(lambda: not platform.stops and not platform.jobs)
    while loop.job_ids:
        await asyncio.sleep(0)
    assert platform.posts == []
    assert handler.open == 0


async def test_an_execution_timeout_ends_the_job_and_the_engines_work(platform: MemoryPlatform, serve: Serve) -> None:
    """The stream gets an in-band error, the job fails with 504."""
    handler = Endless(EVENT)
    serve(handler)
    await platform.give({"id": "a", "input": {}, "policy": {"executionTimeout": 50}})
    await platform.until(lambda: platform.is_done("a"))
    (_, first), (_, last), (_, result) = platform.of("a")
    error = json.loads(result["error"])
    assert error["code"] == 504
    assert error["message"] == "the job ran longer than its executionTimeout of 0.05 s"
    assert first == {"output": "data: 1\n\n"}
    assert last == {"output": f'data: {{"error": {result["error"]}}}\n\ndata: [DONE]\n\n'}
    assert handler.open == 0


async def test_a_job_whose_ttl_is_over_is_dropped(platform: MemoryPlatform, serve: Serve) -> None:
    """The platform has deleted it: nothing is posted."""
    handler = Endless()
    loop, _ = serve(handler)
    await platform.give({"id": "a", "input": {}, "policy": {"ttl": 50, "executionTimeout": 10_000}})
    await handler.closed.wait()
    while loop.job_ids:
        await asyncio.sleep(0)
    assert platform.posts == []


async def test_what_the_drain_time_does_not_suffice_for_fails_with_the_reason(
    platform: MemoryPlatform, serve: Serve
) -> None:
    """503, so that clients send it again; `run` returns afterwards."""
    handler = Endless()
    loop, running = serve(handler, drain_timeout_s=0.05)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: len(platform.takes) == 2)
    loop.drain()
    await platform.give({"id": "late", "input": {}})
    await running
    for job_id in ("a", "late"):
        [(_, result)] = platform.of(job_id)
        error = json.loads(result["error"])
        assert (error["code"], "worker was stopped" in error["message"]) == (503, True)
    assert handler.open == 0


async def test_a_draining_worker_pings_what_it_holds_and_nothing_else(platform: MemoryPlatform, serve: Serve) -> None:
    """A job whose take was closed is not listed, so that the platform can give it to another worker."""
    handler = Endless()
    loop, running = serve(handler, drain_timeout_s=4.0)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: ["a"] in platform.pings)
    loop.drain()
    seen = len(platform.pings)
    await platform.until(lambda: len(platform.pings) > seen + 2)
    assert platform.pings[seen:] == [["a"]] * (len(platform.pings) - seen)
    await platform.stop("a")
    await running


async def test_a_worker_is_replaced_after_its_share_of_jobs(platform: MemoryPlatform, serve: Serve) -> None:
    """It takes no more, and its last result asks for a new worker (`stopPod`)."""

    async def one(job: Job) -> AsyncGenerator[Output, None]:
        yield Output(b"1", streamed=False)

    _, running = serve(one, recycle_after_jobs=2, max_concurrency=1)
    await platform.give(*({"id": name, "input": {}} for name in "abc"))
    await running
    assert platform.posts == [("done", "a", {"output": [1]}), ("done", "b", {"output": [1], "stopPod": True})]


async def test_unknown_fields_of_a_job_are_ignored(platform: MemoryPlatform, serve: Serve) -> None:
    """webhook, s3Config and a policy of nonsense are the platform's business; a body that is no JSON is not a job."""

    async def one(job: Job) -> AsyncGenerator[Output, None]:
        yield Output(b"1", streamed=False)

    platform.take_replies = [PlatformAnswer(200, b"<html>"), PlatformAnswer(200, b'{"id": 5}'), OK]
    serve(one)
    job = {"id": "a", "input": {}, "webhook": "http://x", "s3Config": {"accessId": "k"}, "policy": {"ttl": "soon"}}
    await platform.give(job)
    await platform.until(lambda: platform.is_done("a"))
    assert platform.posts == [("done", "a", {"output": [1]})]
