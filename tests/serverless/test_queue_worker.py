"""Queue mode from take to done, against a platform in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import MemoryPlatform
from worker_vllm.errors import RequestError
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless.http.connection import PlatformAnswer

Job = Mapping[str, Any]


async def echo(job: Job) -> AsyncGenerator[Output, None]:
    yield Output(b'{"echoed": "%s"}' % str(job["input"]).encode(), streamed=False)


async def two_events(job: Job) -> AsyncGenerator[Output, None]:
    yield Output("data: é\n\n".encode(), sse=True, mergeable=True)
    yield Output(b"data: [DONE]\n\n", sse=True, mergeable=True)


async def refuse(job: Job) -> AsyncGenerator[Output, None]:
    raise RequestError("no prompt", param="prompt")
    yield


async def test_an_answer_that_is_not_streamed_posts_its_final_result_alone(
    platform: MemoryPlatform, serve: Serve
) -> None:
    """One POST per job; the value is spliced in as JSON."""
    serve(echo)
    await platform.give({"id": "a", "input": "x"})
    await platform.until(lambda: platform.is_done("a"))
    assert platform.posts == [("done", "a", {"output": [{"echoed": "x"}]})]


async def test_stream_pieces_are_posted_before_the_result_that_repeats_them(
    platform: MemoryPlatform, serve: Serve
) -> None:
    """What was ready together travels together; the final result lists the pieces as they were posted."""
    serve(two_events)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: platform.is_done("a"))
    text = "data: é\n\ndata: [DONE]\n\n"
    assert platform.posts == [("stream", "a", {"output": text}), ("done", "a", {"output": [text]})]


async def test_a_failed_job_carries_the_openai_error_as_json_text(platform: MemoryPlatform, serve: Serve) -> None:
    """`error` is a string; its JSON has message, type, param and code."""
    serve(refuse)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: platform.is_done("a"))
    error = '{"message": "no prompt", "type": "BadRequestError", "param": "prompt", "code": 400}'
    assert platform.posts == [("done", "a", {"error": error})]


async def test_one_take_asks_for_every_free_slot(platform: MemoryPlatform, serve: Serve) -> None:
    """A single poll is out at a time, for all the room there is; the last slot is asked for singly."""
    release = asyncio.Event()

    async def delayed(job: Job) -> AsyncGenerator[Output, None]:
        await release.wait()
        yield Output(b"1", streamed=False)

    serve(delayed, max_concurrency=3)
    await platform.give({"id": "a", "input": {}}, {"id": "b", "input": {}})
    await platform.until(lambda: len(platform.takes) == 2)
    await platform.give({"id": "c", "input": {}}, {"id": "d", "input": {}})
    release.set()
    await platform.until(lambda: platform.is_done("a", "b", "c", "d"))
    common = {"gpu": "none"}
    assert platform.takes[:2] == [
        common | {"batch_size": "3", "job_in_progress": "0"},
        common | {"job_in_progress": "1"},
    ]


async def test_a_stopped_job_posts_nothing_more(platform: MemoryPlatform, serve: Serve) -> None:
    """The handler is closed at once, its slot comes back, no result follows."""
    closed = asyncio.Event()

    async def endless(job: Job) -> AsyncGenerator[Output, None]:
        try:
            yield Output(b"data: 1\n\n", sse=True, mergeable=True)
            await asyncio.Event().wait()
        finally:
            closed.set()

    loop, _ = serve(endless, max_concurrency=1)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: len(platform.posts) == 1)
    await platform.stop("a")
    await closed.wait()
    await platform.until(lambda: len(platform.takes) == 2)
    assert platform.of("a") == [("stream", {"output": "data: 1\n\n"})]
    assert loop.job_ids == ()


async def test_a_drained_worker_finishes_what_runs_and_takes_nothing(platform: MemoryPlatform, serve: Serve) -> None:
    """SIGTERM's first half: `run` returns after the last result."""
    release = asyncio.Event()

    async def delayed(job: Job) -> AsyncGenerator[Output, None]:
        await release.wait()
        yield Output(b"1", streamed=False)

    loop, running = serve(delayed)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: len(platform.takes) == 2)
    loop.drain()
    await platform.give({"id": "late", "input": {}})
    release.set()
    await running
    assert platform.is_done("a", "late")
    assert len(platform.takes) == 2


async def test_results_that_are_not_accepted_hold_their_slots(platform: MemoryPlatform, serve: Serve) -> None:
    """Two results get 500 for longer than a second: no third job is taken until one of them is accepted."""
    accepting = asyncio.Event()

    async def refuse_results(kind: str, job_id: str, body: Any) -> PlatformAnswer | None:
        return None if accepting.is_set() else PlatformAnswer(500)

    platform.on_post = refuse_results
    loop, _ = serve(echo, max_concurrency=2)
    await platform.give({"id": "a", "input": "x"}, {"id": "b", "input": "x"})
    while loop.admission.undelivered < 2:
        await asyncio.sleep(0.05)
    assert loop.admission.free == 0
    taken = len(platform.takes)
    await platform.give({"id": "c", "input": "x"})
    await platform.until(lambda: not platform.jobs)  # by the poll that was out
    await asyncio.sleep(0.3)
    assert len(platform.takes) == taken
    accepting.set()
    await platform.until(lambda: platform.is_done("a", "b", "c"))
    await platform.until(lambda: len(platform.takes) > taken)
