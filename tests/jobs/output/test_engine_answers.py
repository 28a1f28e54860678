"""An engine response becomes JSON text, or an error that keeps the engine's own message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker_vllm.errors import EngineError, EngineReportedError, Overloaded
from worker_vllm.jobs.output.engine_answers import error_from_response, response_as_json

WORDS = {"message": "no", "type": "BadRequestError", "param": "n", "code": 400}


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("application/json", b'{"a": 1.0}', b'{"a": 1.0}'),
        ("application/json; charset=utf-8", '"é"'.encode(), '"é"'.encode()),
        ("application/problem+json", b"[1]", b"[1]"),
        ("application/json", b'\xef\xbb\xbf{"a": 1}', b'{"a": 1}'),
        ("", b'\xef\xbb\xbf{"a": 1}', b'{"a": 1}'),
        ("", b"\xff", '"\ufffd"'.encode()),
        ("application/json", b"", b"null"),
        ("text/plain; charset=utf-8", b"Success: \xc3\xa9", '"Success: é"'.encode()),
        ("audio/mpeg", b"\x00\xff", b'{"content_type":"audio/mpeg","base64":"AP8="}'),
        ("", b"Success: added", b'"Success: added"'),
        ("", b'{"a": 1.0}', b'{"a": 1.0}'),
        ("", b"", b"null"),
        ("application/octet-stream", b"", b'{"content_type":"application/octet-stream","base64":""}'),
    ],
)
def test_an_answer_is_one_json_value(kind: str, body: bytes, value: bytes) -> None:
    assert response_as_json(kind, body) == value


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1',
        b"<html>",
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": NaN}',
        b"  ",
        b"[" * 100_000 + b"]" * 100_000,
    ],
    ids=["cut off", "html", "not utf-8", "utf-16", "no number", "blank", "too deep"],
)
def test_a_response_declared_as_json_that_is_invalid_is_an_error(body: bytes) -> None:
    """Spliced into a result, it would make the complete result unreadable, and the job would be lost."""
    with pytest.raises(EngineError) as failed:
        response_as_json("application/json", body)
    assert failed.value.status == 500
    assert "is declared as application/json and cannot be parsed" in failed.value.message
    assert "expected JSON in UTF-8, got b" in failed.value.message
    assert len(failed.value.message) < 600


def test_metadata_that_is_no_json_is_an_error() -> None:
    with pytest.raises(EngineError):
        response_as_json("application/octet-stream", b"", "{")


def test_vllms_metadata_of_binary_vectors_is_included() -> None:
    """vLLM sends their number and shapes in a header, and a job's output has no headers."""
    expected = b'{"content_type":"application/octet-stream","base64":"AP8=","metadata":{"data":[{"shape":[2]}]}}'
    assert response_as_json("application/octet-stream", b"\x00\xff", '{"data": [{"shape": [2]}]}') == expected


@pytest.mark.parametrize(
    ("status", "body", "kind", "expected"),
    [
        (400, {"error": WORDS}, EngineReportedError, WORDS),
        (400, {"object": "error", **WORDS}, EngineReportedError, WORDS),
        (
            404,
            {"type": "error", "error": {"type": "NotFoundError", "message": "no"}},
            EngineReportedError,
            {"param": None, "type": "NotFoundError", "message": "no", "code": 404},
        ),
        (503, {"error": {**WORDS, "code": 503}}, Overloaded, {**WORDS, "code": 503}),
        (429, "slow down", Overloaded, {"type": "RateLimitError", "code": 429}),
        (404, {"detail": "Not Found"}, EngineError, {"type": "NotFoundError", "code": 404}),
        (502, "<html>", EngineError, {"type": "InternalServerError", "code": 502}),
        (500, [], EngineError, {"type": "InternalServerError", "code": 500}),
    ],
    ids=["openai", "flat", "anthropic", "full", "full, no json", "fastapi", "html", "a list"],
)
def test_an_error_keeps_its_status_and_its_message(
    status: int, body: Any, kind: type[Exception], expected: dict[str, Any]
) -> None:
    error = error_from_response(status, body.encode() if isinstance(body, str) else json.dumps(body).encode())
    assert isinstance(error, kind)
    assert error.status == status
    assert error.error | expected == error.error
