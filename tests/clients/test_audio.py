"""Audio in a job, on the real engine through gateway and worker: base64 in, its form and decoder, JSON out."""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.engines.real import real_engine_process
from tests.support.engines.whisper import whisper_settings
from tests.support.http import Http, parse_events
from tests.support.stack import Stack, serve

pytestmark = [pytest.mark.vllm, pytest.mark.matrix]

RATE = 16_000


def sound(seconds: int) -> bytes:
    """A tone as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        tone = (int(9000 * math.sin(2 * math.pi * 440 * n / RATE)) for n in range(seconds * RATE))
        writer.writeframes(b"".join(struct.pack("<h", value) for value in tone))
    return file.getvalue()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A model that listens."""
    settings = whisper_settings(tmp_path_factory.mktemp("whisper"))
    with real_engine_process(settings) as engine_url, serve(engine_url, "whisper") as up:
        yield up


def asked(file: str, **fields: Any) -> dict[str, Any]:
    """A request's fields beside the file."""
    return {
        "model": "whisper",
        "file": file,
        "language": "en",
        "temperature": 0,
        "max_completion_tokens": 8,
        **fields,
    }


async def direct(speech: Stack, path: str, content: bytes) -> Any:
    """The engine's own answer to a form, sent to it without us."""
    form = {key: str(value) for key, value in asked("").items() if key != "file"}
    transport = httpx2.AsyncHTTPTransport(uds=speech.engine_url.removeprefix("unix:"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine") as client:
        answer = await client.post(path, data=form, files={"file": ("audio.wav", content, "audio/wav")})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("route", ["transcriptions", "translations"])
async def test_a_file_arrives_whole(speech: Stack, route: str) -> None:
    """As base64 and as a data URL, as an OpenAI client's body and as a job: the engine's own answer, which contains
    the recording's length in seconds."""
    content = sound(3)
    text = base64.b64encode(content).decode()
    path = f"/v1/audio/{route}"
    expected = await direct(speech, path, content)
    async with Http(speech.url) as http:
        plain = (await http.post(f"/openai{path}", asked(text))).json
        job = {"openai_route": path, "openai_input": asked(f"data:audio/wav;base64,{text}")}
        [from_job] = (await http.post("/runsync", {"input": job})).json["output"]
    assert plain == from_job == expected
    if route == "transcriptions":
        assert from_job["usage"] == {"type": "duration", "seconds": 3}


async def test_a_transcription_can_be_streamed(speech: Stack) -> None:
    """The pieces join to the whole text, and the stream has its end."""
    text = base64.b64encode(sound(1)).decode()
    async with Http(speech.url) as http:
        whole = (await http.post("/openai/v1/audio/transcriptions", asked(text))).json
        answer = await http.post("/openai/v1/audio/transcriptions", asked(text, stream=True))
    *events, done = parse_events(answer.body)
    pieces = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert ("".join(pieces), done) == (whole["text"], "[DONE]")


async def test_what_is_no_sound_is_refused_in_the_engines_words(speech: Stack) -> None:
    async with Http(speech.url) as http:
        answer = await http.post("/openai/v1/audio/transcriptions", asked(base64.b64encode(b"no sound").decode()))
    assert answer.status == 400
    assert "audio" in answer.json["error"]["message"]
