"""Audio requests and responses: the engine's side is not JSON, the job's side is."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping

from tests.support.core import Core
from worker_vllm.engine.interface import EngineRequest
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.settings.types import Settings


class Answers:
    """An engine with one response to every request; it records the requests."""

    def __init__(self, content_type: str, pieces: list[bytes]) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"content-type": content_type}
        self.asked: list[EngineRequest] = []
        self._pieces = pieces

    async def request(self, request: EngineRequest) -> Answers:
        self.asked.append(request)
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self) -> bytes:
        return b"".join(self._pieces)

    def close(self) -> None:
        pass


def core(engine: Answers) -> Core:
    return Core(JobHandler(engine, Settings()))


async def test_speech_comes_back_as_base64_with_its_content_type() -> None:
    sound = bytes(range(256))
    engine = Answers("audio/mpeg", [sound[:100], sound[100:]])
    result = await core(engine).openai("/v1/audio/speech", {"model": "x", "input": "hello"})
    assert result.value == {"content_type": "audio/mpeg", "base64": base64.b64encode(sound).decode()}


async def test_a_transcription_is_asked_as_a_form() -> None:
    engine = Answers("application/json", [b'{"text":"hello"}'])
    body = {"model": "x", "file": "data:audio/wav;base64,UklGRg==", "language": "en"}
    result = await core(engine).openai("/v1/audio/transcriptions", body)
    assert result.value == {"text": "hello"}
    [request] = engine.asked
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert request.body is not None
    assert b'name="language"\r\n\r\nen\r\n' in request.body
    assert b"\r\n\r\nRIFF\r\n" in request.body


async def test_a_transcription_as_text_is_a_json_string() -> None:
    engine = Answers("text/plain; charset=utf-8", ["hello é".encode()])
    body = {"model": "x", "file": "UklGRg==", "response_format": "text"}
    assert (await core(engine).openai("/v1/audio/transcriptions", body)).value == "hello é"


async def test_an_answer_too_large_for_the_platform_is_refused() -> None:
    """The platform would drop 21 MB of embeddings: the job fails instead, and its error states why."""
    engine = Answers("application/json", [b'"', b"x" * 21_000_000, b'"'])
    failure = (await core(engine).openai("/v1/embeddings", {"input": "x"})).failure
    assert failure["code"] == 413
    assert "split the request" in failure["message"]


async def test_a_stream_may_be_longer_than_a_result() -> None:
    """24 MB in pieces that the platform takes: every event arrives, the job succeeds."""
    event = b'data: {"choices":[{"text":"' + b"y" * 800_000 + b'"}]}\n\n'
    engine = Answers("text/event-stream", [*([event] * 30), b"data: [DONE]\n\n"])
    result = await core(engine).openai("/v1/completions", {"prompt": "x", "stream": True})
    assert result.error is None
    assert result.text == event * 30 + b"data: [DONE]\n\n"
    assert max(len(output.data) for output in result.outputs) <= 400_000


async def test_a_foreign_servers_line_ends_are_kept() -> None:
    """Events that end with CR LF CR LF are framed and passed on as they are."""
    pieces = [
        b'data: {"choices":[{"delta":{"role":"assistant"}}]}\r\n\r\n',
        b"data: {}\r\n",
        b"\r\ndata: [DONE]\r\n\r\n",
    ]
    result = await core(Answers("text/event-stream", pieces)).openai("/v1/chat/completions", {"stream": True})
    assert result.error is None
    assert result.text == b"".join(pieces)


async def test_a_stream_without_its_end_is_a_failure() -> None:
    pieces = [b'data: {"choices":[{"text":"a"}]}\n\n']
    result = await core(Answers("text/event-stream", pieces)).openai(
        "/v1/completions", {"prompt": "x", "stream": True}
    )
    assert result.failure["message"] == "the engine ended its stream without [DONE]"
    assert result.text.startswith(pieces[0])
    assert result.text.endswith(b"data: [DONE]\n\n")
