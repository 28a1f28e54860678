"""Engine responses are validated and limited before they are passed on, and errors have the route's form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.core import Core, core_on
from tests.support.engines.echo import echo_engine
from worker_vllm.engine.interface import EngineRequest
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.size_limits import RESULT_BYTES
from worker_vllm.jobs.run import engine_calls
from worker_vllm.settings.types import JobSettings, Settings

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "model": "echo", "max_tokens": 9}
PIECE = b"x" * 100_000
JSON_TYPE = {"content-type": "application/json"}


@dataclass
class Scripted:
    """An engine and its response in one: the same chunks for every request. It counts the chunks that were read."""

    pieces: list[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_TYPE)
    given: int = 0
    closed: bool = False

    async def request(self, request: EngineRequest) -> Scripted:
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.given += 1
            yield piece

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.chunks()])

    def close(self) -> None:
        self.closed = True


def core(engine: Scripted, **jobs: Any) -> Core:
    return Core(JobHandler(engine, Settings(jobs=JobSettings(**jobs))))


@pytest.mark.parametrize("body", [b'{"a": ', b"\xff\xfe", b"<html>", b'{"a": "\xc3"}'])
async def test_an_invalid_json_response_fails_the_job(body: bytes) -> None:
    """Spliced into the result, it would make the platform refuse the complete result."""
    result = await core(Scripted([body])).openai(CHAT, ASK)
    assert result.outputs == []
    assert result.failure["code"] == 500
    assert "is declared as application/json and cannot be parsed" in result.failure["message"]


@pytest.mark.parametrize(
    "given", [{"openai_route": CHAT, "openai_input": ASK}, {"prompt": "x"}], ids=["openai", "native"]
)
async def test_reading_a_response_stops_at_the_size_limit(given: dict[str, Any]) -> None:
    """The rest is not read: it would cost memory and the engine's time."""
    engine = Scripted([PIECE] * 1000)
    result = await core(engine).run(given)
    assert result.failure["code"] == 413
    assert f"larger than {RESULT_BYTES} bytes" in result.failure["message"]
    assert engine.given == RESULT_BYTES // len(PIECE) + 1
    assert engine.closed


async def test_a_response_whose_content_length_is_too_large_is_not_read() -> None:
    engine = Scripted([PIECE], headers={**JSON_TYPE, "content-length": str(RESULT_BYTES + 1)})
    result = await core(engine).openai(CHAT, ASK)
    assert result.failure["code"] == 413
    assert (engine.given, engine.closed) == (0, True)


async def test_an_error_is_read_as_far_as_it_can_be_quoted() -> None:
    engine = Scripted([PIECE] * 1000, status=500)
    result = await core(engine).openai(CHAT, ASK)
    assert result.failure["code"] == 500
    assert engine.given == engine_calls.ERROR_BYTES // len(PIECE) + 1
    assert engine.closed


async def test_a_response_at_the_size_limit_is_complete() -> None:
    body = b'"' + b"x" * (RESULT_BYTES - 20_002) + b'"'
    result = await core(Scripted([body[:7], body[7:]])).openai(CHAT, ASK)
    assert result.text == body


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_of_anthropics_form_is_passed_on_unchanged(stream: bool) -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}, "request_id": "r"}
    engine = Scripted([json.dumps(body).encode()], status=400)
    failed = await core(engine, inline_errors=True).openai(MESSAGES, {**ASK, "stream": stream})
    assert failed.text == (b"event: error\n" + sse.event(body) if stream else json.dumps(body).encode())


async def test_the_workers_own_errors_have_the_routes_form() -> None:
    """A refusal before the job is parsed too."""
    engine = Scripted([b"{"])
    failed = await core(engine, inline_errors=True).openai(MESSAGES, ASK)
    assert failed.value["type"] == "error"
    assert failed.value["error"]["type"] == "api_error"
    refused = await core(engine).openai(MESSAGES, {**ASK, "stream": True, "n": 1000})
    [event] = list(sse.events(refused.text))
    assert event.startswith(b"event: error\n")
    assert sse.parsed(event)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("message", "added"),
    [
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            ". On this endpoint variables set these flags: ENABLE_AUTO_TOOL_CHOICE for --enable-auto-tool-choice, "
            "TOOL_CALL_PARSER for --tool-call-parser.",
        ),
        (
            "set --no-enable-prefix-caching.",
            " On this endpoint variables set these flags: ENABLE_PREFIX_CACHING for --no-enable-prefix-caching.",
        ),
        ("see --no-such-flag, a--tool-call-parser", ""),
        ("nothing", ""),
    ],
)
async def test_flags_that_the_engine_names_are_followed_by_their_variables(message: str, added: str) -> None:
    """Users of an endpoint cannot set flags; its operator sets variables."""
    error = {"message": message, "type": "BadRequestError", "param": "tools", "code": 400}
    failed = await core(Scripted([json.dumps({"error": error}).encode()], status=400)).openai(CHAT, ASK)
    assert failed.failure == {**error, "message": message + added}


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("/v1/embeddings", "cannot make embeddings"),
        ("/v1/audio/speech", "cannot speak"),
        ("/rerank", "cannot rank documents"),
        (CHAT, "cannot chat"),
    ],
)
async def test_a_route_that_the_model_cannot_serve_fails_with_the_reason(route: str, words: str) -> None:
    """The engine's own message is only Not Found, as for a wrong path."""
    engine = Scripted([b'{"detail":"Not Found"}'], status=404)
    failed = await core(engine).openai(route, ASK)
    assert failed.failure["code"] == 404
    assert failed.failure["message"].startswith(f"{route}: the model served here {words}: ")


async def test_a_native_job_for_a_model_that_cannot_generate_fails_with_the_reason() -> None:
    failed = await core(Scripted([b'{"detail":"Not Found"}'], status=404)).run({"prompt": "x"})
    assert failed.failure["message"].startswith("/v1/completions: the model served here cannot generate text: ")


async def test_another_servers_page_is_quoted() -> None:
    failed = await core(Scripted([b"<html>"], status=404)).openai(CHAT, ASK)
    assert failed.failure["message"] == "the engine answered 404: <html>"


@pytest.mark.parametrize("body", [None, {}, {"model": "x"}, "--boundary\r\nContent-Disposition: form-data"])
async def test_the_error_for_audio_without_base64_states_how_to_send_it(body: Any) -> None:
    """The platform does not carry multipart forms: the job has no body, or the raw text."""
    failed = await core(Scripted([b"{}"])).openai("/v1/audio/transcriptions", body)
    assert failed.failure["param"] == "file"
    assert 'send {"file": "<base64>", "model": …}' in failed.failure["message"]


async def test_a_body_that_is_nested_too_deeply_is_the_callers_fault() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    failed = await core(Scripted([b"{}"])).openai(CHAT, {**ASK, "metadata": deep})
    assert failed.failure["code"] == 400
    assert "nested too deeply" in failed.failure["message"]


async def test_nothing_of_this_changes_an_answer_of_the_echo_engine() -> None:
    async with echo_engine() as engine, core_on(engine.url) as real:
        result = await real.openai(CHAT, ASK)
    assert result.value["choices"][0]["message"]["content"] == "hello"
