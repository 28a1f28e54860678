"""What is evidence of the engine's death, and which requests get the diagnosis; the echo engine is a real child."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from tests.support.engines.supervised import supervised, supervised_echo_processes
from worker_vllm.engine.interface import EngineResponse, EngineState
from worker_vllm.engine.supervision.stall_detector import PendingReads
from worker_vllm.engine.supervision.supervised_response import SupervisedResponse
from worker_vllm.errors import EngineUnavailable, WorkerError

WORDS = "EngineCore encountered an issue. See stack trace (above) for the root cause."
TOKEN = b'data: {"choices": [{"text": "a"}]}\n\n'
OPENAI = {"error": {"message": WORDS, "type": "InternalServerError", "param": None, "code": 500}}
ANTHROPIC = {"type": "error", "error": {"type": "internal_error", "message": WORDS}}
FAULT = {"error": {"message": WORDS, "type": "BadRequestError", "param": None, "code": 400}}
REPORTED_DEAD = EngineUnavailable("the engine stopped working")


def event(content: Any, name: str = "") -> bytes:
    """A server-sent event."""
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(content).encode() + b"\n\n"


def spoken(text: str) -> bytes:
    """The event of an answer with this text."""
    return event({"choices": [{"text": text, "logprobs": None}]})


class Answer:
    """An engine's answer out of ready pieces."""

    status = 200

    def __init__(self, pieces: list[bytes], content_type: str) -> None:
        self.headers: Mapping[str, str] = {"content-type": content_type}
        self._pieces = pieces

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self) -> bytes:
        return b"".join(self._pieces)

    def close(self) -> None:
        return


async def through(pieces: list[bytes], content_type: str = "text/event-stream; charset=utf-8") -> tuple[bytes, int]:
    """What gets through of an answer whose engine is dead, and how often its health was asked."""
    asked: list[WorkerError] = []

    async def explain(error: WorkerError) -> WorkerError:
        asked.append(error)
        return REPORTED_DEAD

    came, pending = b"", PendingReads()
    response = SupervisedResponse(Answer(pieces, content_type), pending, explain)
    with contextlib.suppress(EngineUnavailable):
        async for chunk in response.chunks():
            assert pending.count == 0  # its reader has what it asked for
            came += chunk
    assert pending.count == 0
    return came, len(asked)


@pytest.mark.parametrize(
    "failure", [event(OPENAI), event(ANTHROPIC, "error")], ids=["OpenAI's dialect", "Anthropic's dialect"]
)
async def test_the_engines_own_error_is_evidence(failure: bytes) -> None:
    """Behind other events in one piece, alone, or cut in two; nothing of it gets through."""
    assert await through([TOKEN + failure]) == (TOKEN, 1)
    assert await through([TOKEN, failure + b"data: [DONE]\n\n"]) == (TOKEN, 1)
    assert await through([TOKEN + failure[:40], failure[40:]]) == (TOKEN, 1)


@pytest.mark.parametrize(
    ("pieces", "content_type"),
    [
        ([spoken(WORDS)], "text/event-stream"),
        ([spoken(event(OPENAI).decode())], "text/event-stream"),
        ([event({"choices": [{"delta": {"tool_calls": [{"function": {"name": "error"}}]}}]})], "text/event-stream"),
        ([event(FAULT)], "text/event-stream"),
        ([b'data: {"error": cut'], "text/event-stream"),
        ([b"\n\n" + event(OPENAI)], "text/plain"),
        ([json.dumps(OPENAI).encode()], "application/json"),
    ],
    ids=["its words", "its event", "a tool", "a request's fault", "no JSON", "a transcript", "no stream"],
)
async def test_the_text_of_an_answer_is_no_evidence(pieces: list[bytes], content_type: str) -> None:
    """It gets through unchanged, and the engine is not even asked."""
    assert await through(pieces, content_type) == (b"".join(pieces), 0)


async def test_a_stream_that_is_left_waits_for_nothing() -> None:
    """Given up between two pieces, and while the next one is awaited."""

    async def never(error: WorkerError) -> WorkerError:
        return error

    class Slow(Answer):
        async def chunks(self) -> AsyncIterator[bytes]:
            yield TOKEN
            await asyncio.Event().wait()

    for waiting in (False, True):
        pending = PendingReads()
        chunks = SupervisedResponse(Slow([], "text/event-stream"), pending, never).chunks()
        await anext(chunks)
        if waiting:
            asking = asyncio.ensure_future(anext(chunks))
            await asyncio.sleep(0)
            assert pending.count == 1
            asking.cancel()
            await asyncio.wait([asking])
        await chunks.aclose()  # type: ignore[attr-defined]  # a generator
        assert pending.count == 0


def body(**echo: Any) -> bytes:
    """A stream by this script."""
    return json.dumps({"model": "parrot", "prompt": "hello", "stream": True, "echo": echo}).encode()


FAILING = body(fail_after=1, message=WORDS)


async def gather(response: EngineResponse, came: list[bytes]) -> None:
    """A stream to its end, kept piece by piece."""
    try:
        async for chunk in response.chunks():
            came.append(chunk)
    finally:
        response.close()


async def test_a_stream_that_its_dying_server_ends_gets_the_cause() -> None:
    """In place of the server's own event, of which no byte gets through."""
    came: list[bytes] = []
    async with supervised() as run:
        await run.supervisor.wait_until_decided()
        await (await run.post("/echo/health", b'{"status": 503}')).read()
        response = await run.post("/v1/completions", FAILING)
        with pytest.raises(EngineUnavailable, match="reports that it is dead"):
            await gather(response, came)
    assert b"error" not in b"".join(came)


@pytest.mark.timeout(30)
async def test_a_busy_server_is_not_dead() -> None:
    """Its own error made the worker ask for its health, and it answers nothing for longer than the probe waits."""
    came: list[bytes] = []
    async with supervised() as run:
        await run.supervisor.wait_until_decided()
        response = await run.post("/v1/completions", FAILING)
        blocking = asyncio.create_task(run.post("/echo/block", b'{"ms": 6500}'))
        await run.line("blocked for 6500 ms")
        await gather(response, came)
        assert WORDS.encode() in b"".join(came)
        await blocking
        assert json.loads(await (await run.get("/v1/models")).read())["data"]
        assert run.states == [EngineState.READY]


def kill_engine() -> None:
    """The engine alone; its guard sees it."""
    os.kill(supervised_echo_processes()[-1], signal.SIGKILL)


def kill_guard() -> None:
    """The guard alone, which takes the engine along."""
    os.kill(supervised_echo_processes()[0], signal.SIGKILL)


async def read_on(response: EngineResponse, chunks: AsyncIterator[bytes]) -> WorkerError | None:
    """The rest of a stream; what it failed with."""
    try:
        async for _ in chunks:
            pass
    except WorkerError as error:
        return error
    finally:
        response.close()
    return None


@pytest.mark.parametrize("kill", [kill_engine, kill_guard])
async def test_streams_that_wait_for_the_platform_get_the_cause(kill: Callable[[], None]) -> None:
    """50 have sent a chunk and wait for their reader, 10 wait for the engine: each fails at its next read, also
    when that is long after the engine's end, with its successor in service."""
    async with supervised() as run:
        await run.supervisor.wait_until_decided()
        responses = [await run.post("/v1/completions", body(hang_after=2)) for _ in range(60)]
        streams = [(response, response.chunks()) for response in responses]
        for _, chunks in streams:
            assert await anext(chunks)
        waiting = [asyncio.create_task(read_on(*stream)) for stream in streams[50:]]
        kill()
        assert await run.until(EngineState.STARTING) is EngineState.STARTING
        assert await run.until(EngineState.READY) is EngineState.READY
        errors = await asyncio.gather(*waiting, *(read_on(*stream) for stream in streams[:50]))
        assert {(type(error), re.sub(r"\d+", "N", str(error))) for error in errors} == {
            (EngineUnavailable, re.sub(r"\d+", "N", str(errors[0])))
        }
        assert "the engine stopped working" in str(errors[0])
