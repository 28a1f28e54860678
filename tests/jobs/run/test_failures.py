"""How jobs fail: every failure is typed, and a stream contains its error event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.core import Core, core_on
from tests.support.engines.echo import echo_engine
from tests.support.http import parse_events
from worker_vllm.engine.interface import EngineRequest, EngineResponse
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.jobs.output import sse
from worker_vllm.settings.types import Settings

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 500, 503, 504])
@pytest.mark.parametrize("native", [False, True], ids=["openai", "native"])
async def test_an_engine_error_keeps_its_status_and_message(status: int, native: bool) -> None:
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"status": status, "message": "because"}, times=-1)
        direct = (await engine.http.post(CHAT, ASK)).json["error"]
        result = await core.run({"prompt": "hello"} if native else {"openai_route": CHAT, "openai_input": ASK})
    assert result.outputs == []
    assert result.failure == direct
    assert result.failure["code"] == status


async def test_a_refused_stream_contains_the_error_and_ends() -> None:
    async with echo_engine() as engine, core_on(engine.url) as core:
        result = await core.openai(CHAT, {**ASK, "stream": True, "model": "other"})
    assert result.failure["code"] == 404
    assert "echo" in result.failure["message"]
    assert parse_events(result.text) == [{"error": result.failure}, "[DONE]"]


@pytest.mark.parametrize(
    ("script", "code"), [({"fail_after": 3}, 500), ({"disconnect_after": 3}, 500)], ids=["error event", "broken off"]
)
async def test_a_stream_that_breaks_ends_with_one_error(script: dict[str, Any], code: int) -> None:
    """The events before it stay, then one error event and `[DONE]` follow; the job has failed."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script(script)
        result = await core.openai(CHAT, {**ASK, "stream": True})
    assert result.failure["code"] == code
    events = list(sse.events(result.text))
    text = "".join(sse.parsed(event)["choices"][0]["delta"].get("content") or "" for event in events[:-2])
    assert text == "hel"
    assert sse.parsed(events[-2])["error"]["message"] == result.failure["message"]
    assert events[-1] == sse.DONE


async def test_without_raw_output_the_error_is_an_entry() -> None:
    """It follows the events of the batch that was not yet full."""
    async with echo_engine() as engine, core_on(engine.url, raw_openai_output=False) as core:
        await engine.script({"fail_after": 2})
        result = await core.openai(CHAT, {**ASK, "stream": True})
    entries = [entry for item in result.items for entry in item]
    assert [entry["choices"][0]["delta"].get("content") for entry in entries[:-1]] == ["", "h", "e"]
    assert entries[-1]["error"]["message"] == result.failure["message"]


async def test_a_native_stream_that_breaks_fails_after_its_pending_tokens() -> None:
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"fail_after": 3})
        result = await core.run({"prompt": "hello", "stream": True})
    assert [item["choices"][0]["tokens"] for item in result.items] == [["h"], ["e", "l"]]
    assert result.failure["code"] == 500


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_inline_complete_the_job_with_the_error_as_its_body(stream: bool) -> None:
    """OPENAI_ERRORS=inline, for OpenAI jobs as in the original."""
    async with echo_engine() as engine, core_on(engine.url, inline_errors=True) as core:
        result = await core.openai(CHAT, {**ASK, "model": "other", "stream": stream})
        native = await core.run({"prompt": 7})
    assert result.error is None
    error = result.events[0]["error"] if stream else result.value["error"]
    assert error["code"] == 404
    assert native.failure["code"] == 400


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("native", [False, True], ids=["openai", "native"])
async def test_closing_a_job_aborts_it_in_the_engine(native: bool, stream: bool) -> None:
    """Whether it waits for the whole answer or for the next event."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"hang_after": 5 if stream else 0})
        fields: dict[str, Any] = {"prompt": "hello", "max_batch_size": 1} if native else {"openai_route": CHAT}
        given = fields | ({"stream": stream} if native else {"openai_input": {**ASK, "stream": stream}})
        outputs = core.worker.handle({"id": "job", "input": given})

        async def consume() -> None:
            async for _ in outputs:
                pass

        task = asyncio.create_task(consume())
        await engine.until(running=1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert (await engine.until(running=0))["running"] == 0


class Faulty:
    """An engine whose client has a bug."""

    async def request(self, request: EngineRequest) -> EngineResponse:
        raise RuntimeError("a fault")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_in_the_worker_is_a_500(stream: bool) -> None:
    result = await Core(JobHandler(Faulty(), Settings())).openai(CHAT, {**ASK, "stream": stream})
    assert result.failure["message"] == "internal error of the worker: RuntimeError: a fault"
    assert result.failure["code"] == 500
    assert parse_events(result.text) == ([{"error": result.failure}, "[DONE]"] if stream else [])


async def test_nothing_is_read_ahead_of_the_reader() -> None:
    """A slow reader applies backpressure to the engine: the connection's buffers fill and it stops generating."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"text": "x" * 60_000})
        body = {"prompt": "x", "max_tokens": 60_000, "stream": True, "ignore_eos": True}
        outputs = core.worker.handle(
            {"id": "job", "input": {"openai_route": "/v1/completions", "openai_input": body}}
        )
        first = await anext(outputs)
        assert len(first.data) < 300_000
        await outputs.aclose()
        generated = (await engine.until(running=0))["generated"]
    assert generated < 60_000
