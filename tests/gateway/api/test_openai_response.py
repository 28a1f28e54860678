"""A stream that fails at once has its true status; one that fails later ends with one error."""

from __future__ import annotations

import json

import pytest

from worker_vllm.gateway.api.openai_response import error_event, is_terminated, of_error_event, of_failure
from worker_vllm.json_bytes import dump

ERROR = {"message": "no", "type": "NotFoundError", "param": None, "code": 404}
OPENAI = f"data: {json.dumps({'error': ERROR})}\n\n"
ANTHROPIC_ERROR = {"type": "error", "error": {"type": "not_found_error", "message": "no"}}
ANTHROPIC = f"event: error\ndata: {json.dumps(ANTHROPIC_ERROR)}\n\n"


@pytest.mark.parametrize(
    ("piece", "status"),
    [
        (OPENAI, 404),
        (OPENAI + "data: [DONE]\n\n", 404),
        (OPENAI.replace(": {", ":{"), None),
        (ANTHROPIC, 404),
        ("event: error\ndata: 7\n\n", None),
        ("event: error\ndata: {}\n\n", None),
        ('data: {"error": {"message": "no"}}\n\n', None),
        ("data: {}\n\n", None),
        ({"error": ERROR}, None),
    ],
)
def test_a_first_event_that_is_an_error_is_the_answer(piece: object, status: int | None) -> None:
    """Compact JSON is not what a worker of ours writes first, and a foreign object without a code is no error."""
    found = of_error_event(piece)
    assert (found and found.status) == status
    if found:
        expected: dict[str, object] = {"error": ERROR}
        assert json.loads(found.body) == (ANTHROPIC_ERROR if piece == ANTHROPIC else expected)


def test_an_anthropic_error_keeps_its_format_and_its_type_gives_the_status() -> None:
    text = json.dumps(ANTHROPIC_ERROR)
    failure = of_failure(text)
    assert (failure.status, json.loads(failure.body)) == (404, ANTHROPIC_ERROR)
    assert error_event(text) == b"event: error\ndata: " + dump(ANTHROPIC_ERROR) + b"\n\n"
    unknown = {"type": "error", "error": {"type": "other", "message": "no"}}
    assert of_failure(json.dumps(unknown)).status == 500


@pytest.mark.parametrize(
    ("written", "ended"),
    [
        (b"data: 1\n\ndata: [DONE]\n\n", True),
        (b"data: 1\n\n" + ANTHROPIC.encode(), True),
        (b"data: 1\n\n", False),
        (OPENAI.encode(), False),
        (b"", False),
    ],
)
def test_a_terminated_stream_gets_no_further_event(written: bytes, ended: bool) -> None:
    assert is_terminated(written) is ended
