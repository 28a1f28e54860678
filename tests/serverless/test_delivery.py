"""Final results: sent until accepted, kept when they cannot be, replaced when they are too large."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from serverless.conftest import Serve
from serverless.memory_platform import BASE, MemoryPlatform

from worker_vllm.jobs.output import Output
from worker_vllm.serverless.exchange import Answer, NoAnswer, NotSent
from worker_vllm.serverless.spool import Result, Spool

FAR_FUTURE = 1e12


async def one(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    yield Output(b"1", streamed=False)


async def large(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    yield Output(b'"%s"' % (b"x" * 2_000_000), streamed=False)


async def test_a_result_is_sent_until_it_is_accepted(platform: MemoryPlatform, serve: Serve) -> None:
    """It is idempotent: refused, cut off and unreachable are all tried again."""
    replies: list[Any] = [Answer(500), NoAnswer("cut"), NotSent("refused"), Answer(429), Answer(401)]

    async def fail(kind: str, job_id: str, body: Any) -> Any:
        return replies.pop(0) if replies else None

    platform.on_post = fail
    serve(one)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: bool(platform.posts) and not replies and len(platform.posts) == 5)
    assert {json.dumps(body) for _, body in platform.of("a")} == {'{"output": [1]}'}


async def test_a_result_that_is_too_large_becomes_a_small_failure(platform: MemoryPlatform, serve: Serve) -> None:
    """The platform answers 400 and would show COMPLETED without output; the client must learn why."""

    async def refuse_large(kind: str, job_id: str, body: Any) -> Answer | None:
        return Answer(400) if len(json.dumps(body)) > 1_000_000 else None

    platform.on_post = refuse_large
    serve(large)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: len(platform.posts) == 2)
    error = json.loads(platform.of("a")[1][1]["error"])
    assert (error["code"], error["type"]) == (413, "RequestTooLargeError")
    assert "2000015 bytes" in error["message"]


async def test_a_small_result_that_is_refused_is_not_sent_again(platform: MemoryPlatform, serve: Serve) -> None:
    """400 and 404 on a late result are the platform's last word."""

    async def refuse(kind: str, job_id: str, body: Any) -> Answer:
        return Answer(404)

    platform.on_post = refuse
    serve(one)
    await platform.give({"id": "a", "input": {}}, {"id": "b", "input": {}})
    await platform.until(lambda: platform.is_done("a", "b"))
    assert len(platform.posts) == 2


async def test_what_cannot_be_delivered_before_the_end_is_kept(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """A forced end leaves the result to the next start."""
    tried = asyncio.Event()

    async def never(kind: str, job_id: str, body: Any) -> None:
        tried.set()
        await asyncio.Event().wait()

    platform.on_post = never
    _, running = serve(one, spool_directory=str(tmp_path / "spool"))
    await platform.give({"id": "a", "input": {}})
    await tried.wait()
    running.cancel()
    await asyncio.wait([running])
    kept = list(Spool(tmp_path / "spool").left())
    assert [(r.job_id, r.url, r.body) for r in kept] == [
        ("a", f"{BASE}/job-done/w1/a?gpu=none&isStream=true", b'{"output":[1]}')
    ]


async def test_what_an_earlier_process_left_is_delivered(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """To the address it was meant for; then it is gone from the disk."""
    spool = Spool(tmp_path)
    spool.keep(Result("old", f"{BASE}/job-done/w0/old?isStream=true", b'{"output":[7]}', FAR_FUTURE))
    serve(one, spool_directory=str(tmp_path))
    await platform.until(lambda: platform.is_done("old"))
    assert platform.of("old") == [("done", {"output": [7]})]


async def test_a_result_for_another_endpoint_stays_where_it_is(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """Volumes are shared, and the key travels with every result: nobody who can write there gets it."""
    spool = Spool(tmp_path)
    spool.keep(Result("neighbour", "http://platform/v2/other/job-done/w0/neighbour?", b"{}", FAR_FUTURE))
    spool.keep(Result("evil", "http://elsewhere/job-done/w0/evil?", b"{}", FAR_FUTURE))
    spool.keep(Result("old", f"{BASE}/job-done/w0/old?", b"{}", FAR_FUTURE))
    serve(one, spool_directory=str(tmp_path))
    await platform.until(lambda: platform.is_done("old"))
    assert [job_id for _, job_id, _ in platform.posts] == ["old"]
    assert {"evil", "neighbour"} <= {result.job_id for result in spool.left()}


async def test_a_result_that_is_slow_to_be_accepted_is_kept_meanwhile(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """kill -9 cannot lose it; once accepted it is forgotten."""
    tried, release = asyncio.Event(), asyncio.Event()

    async def slow(kind: str, job_id: str, body: Any) -> None:
        tried.set()
        await release.wait()

    platform.on_post = slow
    loop, _ = serve(one, spool_directory=str(tmp_path))
    await platform.give({"id": "a", "input": {}})
    await tried.wait()
    while not list(Spool(tmp_path).left()):
        await asyncio.sleep(0.05)  # the disk has no event
    release.set()
    await platform.until(lambda: platform.is_done("a"))
    while loop.held:
        await asyncio.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
