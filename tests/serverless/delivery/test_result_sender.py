"""Final results: sent until accepted, kept when they cannot be, replaced when they are too large."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import BASE, MemoryPlatform
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless.delivery.result_spool import JobResult, ResultSpool
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer

FAR_FUTURE = 1e12


async def one(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    yield Output(b"1", streamed=False)


async def large(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    yield Output(b'"%s"' % (b"x" * 2_000_000), streamed=False)


async def test_a_result_is_sent_until_it_is_accepted(platform: MemoryPlatform, serve: Serve) -> None:
    """It is idempotent: refused, cut off and unreachable are all tried again."""
    replies: list[Any] = [
        PlatformAnswer(500),
        NoAnswer("cut"),
        NotSent("refused"),
        PlatformAnswer(429),
        PlatformAnswer(401),
    ]

    async def fail(kind: str, job_id: str, body: Any) -> Any:
        return replies.pop(0) if replies else None

    platform.on_post = fail
    serve(one)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: bool(platform.posts) and not replies and len(platform.posts) == 5)
    assert {json.dumps(body) for _, body in platform.of("a")} == {'{"output": [1]}'}


async def test_a_result_that_is_too_large_becomes_a_small_failure(platform: MemoryPlatform, serve: Serve) -> None:
    """The platform answers 400 and would show COMPLETED without output; the client must learn why."""

    async def refuse_large(kind: str, job_id: str, body: Any) -> PlatformAnswer | None:
        return PlatformAnswer(400) if len(json.dumps(body)) > 1_000_000 else None

    platform.on_post = refuse_large
    serve(large)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: len(platform.posts) == 2)
    error = json.loads(platform.of("a")[1][1]["error"])
    assert (error["code"], error["type"]) == (413, "RequestTooLargeError")
    assert "2000015 bytes" in error["message"]


async def test_a_result_that_the_platform_forgot_is_not_sent_again(platform: MemoryPlatform, serve: Serve) -> None:
    """404 and 410 on a late result are the platform's last word."""

    async def refuse(kind: str, job_id: str, body: Any) -> PlatformAnswer:
        return PlatformAnswer(404 if job_id == "a" else 410)

    platform.on_post = refuse
    serve(one)
    await platform.give({"id": "a", "input": {}}, {"id": "b", "input": {}})
    await platform.until(lambda: platform.is_done("a", "b"))
    assert len(platform.posts) == 2


@pytest.mark.parametrize("status", [400, 405, 409, 413, 414, 422, 451])
async def test_a_result_that_is_refused_for_good_becomes_a_small_failure(
    platform: MemoryPlatform, serve: Serve, status: int
) -> None:
    """Its client must not wait for ever; a refusal of that result too ends the delivery."""

    async def refuse(kind: str, job_id: str, body: Any) -> PlatformAnswer | None:
        return PlatformAnswer(status) if job_id == "never" or "output" in body else None

    platform.on_post = refuse
    loop, _ = serve(one)
    await platform.give({"id": "a", "input": {}}, {"id": "never", "input": {}})
    await platform.until(lambda: len(platform.posts) == 4)
    while loop.job_ids:
        await asyncio.sleep(0)
    for job_id in ("a", "never"):
        assert platform.of(job_id)[0][1] == {"output": [1]}
        error = json.loads(platform.of(job_id)[1][1]["error"])
        assert error["code"] == (413 if status == 413 else 502)
        assert f"the result of 14 bytes was refused by the platform with HTTP {status}" in error["message"]


async def test_results_of_earlier_processes_do_not_delay_each_other(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """One is never answered, one gets 500 for ever: the others arrive all the same."""

    async def stuck(kind: str, job_id: str, body: Any) -> PlatformAnswer | None:
        if job_id == "0":
            await asyncio.Event().wait()
        return PlatformAnswer(500) if job_id == "1" else None

    spool = ResultSpool(tmp_path)
    for n in range(12):
        spool.save_shared(JobResult(str(n), f"{BASE}/job-done/w0/{n}?", (b"{}",), FAR_FUTURE))
    platform.on_post = stuck
    serve(one, spool_directory=str(tmp_path))
    await platform.until(lambda: platform.is_done(*map(str, range(2, 12))))


async def test_a_starting_worker_leaves_the_results_of_a_live_one_alone(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """On a shared volume; the next scan finds only results without a live owner."""
    live = ResultSpool(tmp_path)
    for n in range(12):
        live.save_owned(JobResult(str(n), f"{BASE}/job-done/w0/{n}?", (b"{}",), FAR_FUTURE))
    live.save_shared(JobResult("free", f"{BASE}/job-done/w0/free?", (b"{}",), FAR_FUTURE))
    serve(one, spool_directory=str(tmp_path))
    await platform.until(lambda: platform.is_done("free"))
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: platform.is_done("a"))
    assert {job_id for _, job_id, _ in platform.posts} == {"free", "a"}


async def test_an_undelivered_result_is_spooled_at_the_stop(
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
    next_start = ResultSpool(tmp_path / "spool")
    kept = [next_start.read(path) for path in next_start.claim(BASE)]
    assert [(r.job_id, r.url, b"".join(r.body)) for r in kept if r] == [
        ("a", f"{BASE}/job-done/w1/a?gpu=none&isStream=true", b'{"output":[1]}')
    ]


async def test_a_result_of_an_earlier_process_is_delivered(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """To the address it was meant for; then it is gone from the disk."""
    spool = ResultSpool(tmp_path)
    spool.save_shared(JobResult("old", f"{BASE}/job-done/w0/old?isStream=true", (b'{"output":[7]}',), FAR_FUTURE))
    serve(one, spool_directory=str(tmp_path))
    await platform.until(lambda: platform.is_done("old"))
    assert platform.of("old") == [("done", {"output": [7]})]


async def test_a_result_for_another_endpoint_stays_where_it_is(
    platform: MemoryPlatform, serve: Serve, tmp_path: Path
) -> None:
    """Volumes are shared, and the key is sent with every result: another writer of the volume must not get it."""
    spool = ResultSpool(tmp_path)
    spool.save_shared(JobResult("neighbour", "http://platform/v2/other/job-done/w0/neighbour?", (b"{}",), FAR_FUTURE))
    spool.save_shared(JobResult("evil", "http://elsewhere/job-done/w0/evil?", (b"{}",), FAR_FUTURE))
    spool.save_shared(JobResult("old", f"{BASE}/job-done/w0/old?", (b"{}",), FAR_FUTURE))
    serve(one, spool_directory=str(tmp_path))
    await platform.until(lambda: platform.is_done("old"))
    assert [job_id for _, job_id, _ in platform.posts] == ["old"]
    others = [spool.read(path) for path in tmp_path.glob("*.result")]
    assert {"evil", "neighbour"} == {result.job_id for result in others if result}


async def test_a_result_that_is_slow_to_be_accepted_is_spooled_meanwhile(
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
    while not list(tmp_path.rglob("*.result")):
        await asyncio.sleep(0.05)  # the disk has no event
    release.set()
    await platform.until(lambda: platform.is_done("a"))
    while loop.job_ids:
        await asyncio.sleep(0.01)
    assert list(tmp_path.rglob("*.result")) == []
