"""A stream that fails at once has its true status; one that fails later ends with one error."""

from __future__ import annotations

import json

import pytest

from worker_vllm.gateway.verdict import of_error_event, says_its_end

ERROR = {"message": "no", "type": "NotFoundError", "param": None, "code": 404}
OPENAI = f"data: {json.dumps({'error': ERROR})}\n\n"
ANTHROPIC = f"event: error\ndata: {json.dumps({'type': 'error', 'error': ERROR})}\n\n"


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
    """Compact JSON is not what a worker of ours writes first, and a foreign object without a code is no verdict."""
    found = of_error_event(piece)
    assert (found and found.status) == status
    if found:
        assert json.loads(found.body) == {"error": ERROR}


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
def test_a_stream_that_ended_itself_gets_no_last_words(written: bytes, ended: bool) -> None:
    assert says_its_end(written) is ended
