"""A job's stream on its way: in order, one POST at a time, never twice unless provably lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import SETTINGS, MemoryPlatform
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless.delivery.aggregate import Aggregate
from worker_vllm.serverless.delivery.post_rate import PostRateLimits, PostScheduler
from worker_vllm.serverless.delivery.stream_sender import StreamBroken, StreamSender
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.protocol import Addresses

Job = Mapping[str, Any]


def event(text: str) -> Output:
    """One server-sent event, free to be merged."""
    return Output(f"data: {text}\n\n".encode(), sse=True, mergeable=True)


class Source:
    """A handler that yields what the test sends."""

    def __init__(self) -> None:
        self.outputs: asyncio.Queue[Output | None] = asyncio.Queue()
        self.read = 0

    def send(self, *outputs: Output | None) -> None:
        """Have these ready for the worker at once; None is the end."""
        for output in outputs:
            self.outputs.put_nowait(output)

    async def __call__(self, job: Job) -> AsyncGenerator[Output, None]:
        while (output := await self.outputs.get()) is not None:
            self.read += 1
            yield output


class FirstPostDelayed:
    """Delays the first post until `release` is set."""

    def __init__(self) -> None:
        self.began, self.release = asyncio.Event(), asyncio.Event()

    async def __call__(self, kind: str, job_id: str, body: Any) -> None:
        if not self.began.is_set():
            self.began.set()
            await self.release.wait()


async def test_what_comes_while_a_post_is_out_travels_together(platform: MemoryPlatform, serve: Serve) -> None:
    """The first event goes at once and alone; the rest waits for the answer and then goes as one piece."""
    source, delayed = Source(), FirstPostDelayed()
    platform.on_post = delayed
    serve(source)
    await platform.give({"id": "a", "input": {}})
    source.send(event("1"))
    await delayed.began.wait()
    source.send(*(event(str(n)) for n in range(2, 40)), None)
    delayed.release.set()
    await platform.until(lambda: platform.is_done("a"))
    first, rest = "data: 1\n\n", "".join(f"data: {n}\n\n" for n in range(2, 40))
    assert platform.of("a") == [
        ("stream", {"output": first}),
        ("stream", {"output": rest}),
        ("done", {"output": [first, rest]}),
    ]


async def test_native_items_stay_whole(platform: MemoryPlatform, serve: Serve) -> None:
    """Only outputs marked as mergeable are merged: every other item is a piece of its own."""
    source, delayed = Source(), FirstPostDelayed()
    platform.on_post = delayed
    serve(source)
    await platform.give({"id": "a", "input": {}})
    source.send(*(Output(b"[%d]" % n) for n in range(4)), None)
    await delayed.began.wait()
    delayed.release.set()
    await platform.until(lambda: platform.is_done("a"))
    assert platform.of("a") == [
        *(("stream", {"output": [n]}) for n in range(4)),
        ("done", {"output": [[0], [1], [2], [3]]}),
    ]


async def test_a_slow_platform_holds_the_engine_back(platform: MemoryPlatform, serve: Serve) -> None:
    """While a piece is on its way at most one more output is read: memory is bounded by the engine's own socket."""
    source, delayed = Source(), FirstPostDelayed()
    platform.on_post = delayed
    serve(source)
    await platform.give({"id": "a", "input": {}})
    source.send(event("1"))
    await delayed.began.wait()
    source.send(*(event(str(n)) for n in range(1000)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.read <= 2
    delayed.release.set()


async def test_pieces_stay_under_the_platforms_limit(platform: MemoryPlatform, serve: Serve) -> None:
    """Half a megabyte of text per piece, so that its JSON stays below one."""
    source, delayed = Source(), FirstPostDelayed()
    platform.on_post = delayed
    serve(source)
    await platform.give({"id": "a", "input": {}})
    source.send(event("1"))
    await delayed.began.wait()
    source.send(*(event("x" * 100_000) for _ in range(12)), None)
    delayed.release.set()
    await platform.until(lambda: platform.is_done("a"))
    sizes = [len(body["output"]) for kind, body in platform.of("a") if kind == "stream"]
    assert len(sizes) == 4
    assert max(sizes) <= 512 * 1024


@pytest.mark.parametrize(
    "refusal", [NotSent("refused"), PlatformAnswer(425), PlatformAnswer(429), PlatformAnswer(503)]
)
async def test_a_piece_that_was_provably_not_accepted_is_sent_again(
    platform: MemoryPlatform, serve: Serve, refusal: PlatformAnswer | NotSent
) -> None:
    """No connection, 425, 429 and 503: the text arrives once, in order."""
    refused: list[Any] = []

    async def refuse_twice(kind: str, job_id: str, body: Any) -> PlatformAnswer | NotSent | None:
        if kind == "stream" and len(refused) < 2:
            refused.append(body)
            return NotSent("refused") if isinstance(refusal, NotSent) else refusal
        return None

    source = Source()
    platform.on_post = refuse_twice
    serve(source)
    await platform.give({"id": "a", "input": {}})
    source.send(event("1"), event("2"), None)
    await platform.until(lambda: platform.is_done("a"))
    assert [body for kind, body in platform.of("a") if kind == "done"] == [{"output": ["data: 1\n\ndata: 2\n\n"]}]


def lost(reason: str) -> str:
    """The error of a stream that lost a piece, perhaps."""
    return (
        f'{{"message": "a piece of the stream may have been lost: {reason}", "type": "InternalServerError", '
        '"param": null, "code": 500}'
    )


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (NoAnswer("cut"), "cut"),
        *(
            (PlatformAnswer(status), f"the platform answered HTTP {status}")
            for status in (303, 500, 502, 504, 520, 524)
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_unknown_outcome_breaks_the_stream(
    platform: MemoryPlatform, serve: Serve, outcome: PlatformAnswer | NoAnswer, reason: str
) -> None:
    """A repeat would double text: the stream ends with an error in-band and the job fails."""

    async def cut(kind: str, job_id: str, body: Any) -> PlatformAnswer | NoAnswer | None:
        return outcome if body.get("output") == "data: 1\n\n" else None

    source = Source()
    platform.on_post = cut
    serve(source)
    await platform.give({"id": "a", "input": {}})
    source.send(event("1"))
    await platform.until(lambda: bool(platform.posts))
    source.send(event("2"), None)
    await platform.until(lambda: platform.is_done("a"))
    assert platform.of("a") == [
        ("stream", {"output": "data: 1\n\n"}),
        ("stream", {"output": f'data: {{"error": {lost(reason)}}}\n\ndata: [DONE]\n\n'}),
        ("done", {"error": lost(reason)}),
    ]


async def test_a_piece_is_sent_again_for_minutes_not_for_ever(platform: MemoryPlatform) -> None:
    """Its job occupies a slot and KV memory meanwhile."""

    async def busy(kind: str, job_id: str, body: Any) -> PlatformAnswer:
        return PlatformAnswer(429)

    platform.on_post = busy
    scheduler = PostScheduler(PostRateLimits(), asyncio.get_running_loop().time)
    addresses = Addresses.of(SETTINGS)
    assert StreamSender(platform, addresses, scheduler, lambda: 0.0).retry_for_s == 180.0
    hasty = StreamSender(platform, addresses, scheduler, lambda: 0.0, retry_for_s=0.2)
    with pytest.raises(StreamBroken, match=r"did not accept a piece of the stream for 0\.2 s: HTTP 429"):
        await hasty.post_piece("a", b'"text"')
    assert len(platform.posts) >= 2


async def test_a_job_that_the_platform_forgot_is_dropped(platform: MemoryPlatform, serve: Serve) -> None:
    """404 on a piece: the engine's request is aborted and nothing more is posted."""

    async def forget(kind: str, job_id: str, body: Any) -> PlatformAnswer:
        return PlatformAnswer(404)

    source = Source()
    platform.on_post = forget
    loop, _ = serve(source, max_concurrency=1)
    await platform.give({"id": "a", "input": {}})
    source.send(event("1"), event("2"))
    await platform.until(lambda: len(platform.takes) == 1 and bool(platform.posts))
    source.send(event("3"))
    await platform.until(lambda: len(platform.takes) == 2)
    assert platform.of("a") == [("stream", {"output": "data: 1\n\ndata: 2\n\n"})]
    assert loop.job_ids == ()


@pytest.mark.parametrize(("pieces", "kept"), [(24, 24), (25, 0), (60, 0)])
async def test_a_stream_longer_than_a_result_is_not_repeated_in_it(
    platform: MemoryPlatform, serve: Serve, caplog: pytest.LogCaptureFixture, pieces: int, kept: int
) -> None:
    """Up to 20 MB job-done repeats all of it; beyond, nothing, since a part would look like the complete output."""
    text = "x" * 800_000

    async def long(job: Job) -> AsyncGenerator[Output, None]:
        for _ in range(pieces):
            yield Output(f'"{text}"'.encode())

    serve(long)
    await platform.give({"id": "a", "input": {}})
    await platform.until(lambda: platform.is_done("a"))
    assert platform.of("a") == [("stream", {"output": text})] * pieces + [("done", {"output": [text] * kept})]
    assert ("job=a its stream exceeds the size limit of a result" in caplog.text) == (kept == 0)


def test_what_a_result_cannot_hold_is_not_held() -> None:
    """Memory is bounded by a result's size, however long the stream."""
    aggregate = Aggregate(max_bytes=10)
    assert [aggregate.add(value) for value in (b"1234", b"5678", b"9", b"0")] == [False, False, True, False]
    assert aggregate.values == []
