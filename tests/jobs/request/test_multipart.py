"""Audio is sent to the engine as the multipart form that its route reads."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP

import pytest

from worker_vllm.engine.interface import EngineRequest
from worker_vllm.errors import RequestError
from worker_vllm.jobs.request.multipart import multipart_request

SOUND = b"RIFF\r\n--\x00\xff" * 9
BASE64 = base64.b64encode(SOUND).decode()


def fields_of(request: EngineRequest) -> list[tuple[str, str | None, str, bytes]]:
    """Name, file name, content type and content of every part, read by the standard library."""
    assert request.body is not None
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + request.body)
    parts = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts.append((str(name), part.get_filename(), part.get_content_type(), content))
    return parts


@pytest.mark.parametrize(
    ("file", "extra", "filename", "kind"),
    [
        (BASE64, {}, "audio.wav", "audio/wav"),
        (f"data:audio/mpeg;base64,{BASE64}", {}, "audio.mp3", "audio/mpeg"),
        (f"data:audio/ogg;base64,{BASE64}", {"filename": 'a"b.ogg'}, "a%22b.ogg", "audio/ogg"),
        (BASE64[:9] + "\n" + BASE64[9:], {}, "audio.wav", "audio/wav"),
    ],
    ids=["base64", "data url", "file name", "wrapped lines"],
)
def test_the_file_and_every_field_arrive(file: str, extra: dict[str, str], filename: str, kind: str) -> None:
    body = {"file": file, "model": "whisper é", "temperature": 0.5, "stream": True, "language": None, **extra}
    request = multipart_request(
        "/v1/audio/transcriptions", {**body, "timestamp_granularities[]": ["word", "segment"]}
    )
    assert fields_of(request) == [
        ("model", None, "text/plain", "whisper é".encode()),
        ("temperature", None, "text/plain", b"0.5"),
        ("stream", None, "text/plain", b"true"),
        ("timestamp_granularities[]", None, "text/plain", b"word"),
        ("timestamp_granularities[]", None, "text/plain", b"segment"),
        ("file", filename, kind, SOUND),
    ]


@pytest.mark.parametrize("body", [None, {}, {"file": 7}, {"file": ""}, {"file": "not base64!"}, {"file": "data:,"}])
def test_what_is_no_audio_is_refused(body: object) -> None:
    with pytest.raises(RequestError) as refused:
        multipart_request("/v1/audio/transcriptions", body)
    assert (refused.value.status, refused.value.param) == (400, "file")
