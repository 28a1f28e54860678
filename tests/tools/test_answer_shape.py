"""An answer in the wrong format fails a Hub test, whatever its HTTP status."""

from __future__ import annotations

from typing import Any

import pytest

from tools.publish.answer_shape import mismatch

NATIVE = {"prompt": "Hello"}
CHAT = {"openai_route": "/v1/chat/completions", "openai_input": {"messages": []}}
CHAT_STREAM = {"openai_route": "/v1/chat/completions", "openai_input": {"messages": [], "stream": True}}
COMPLETION = {"openai_route": "/v1/completions", "openai_input": {"prompt": "Hello"}}
MODELS = {"openai_route": "/v1/models"}

USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CHAT_BODY = {
    "object": "chat.completion",
    "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
TEXT_BODY = {"object": "text_completion", "choices": [{"text": "Hi", "finish_reason": "length"}], "usage": USAGE}
EVENT = 'data: {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "Hi"}}]}\n\n'


def item(count: int, *texts: str) -> dict[str, Any]:
    return {"choices": [{"tokens": list(texts)}], "usage": {"input": 1, "output": count}}


RIGHT = {
    "native": (NATIVE, [item(2, "Hi there")]),
    "native stream": ({**NATIVE, "stream": True}, [item(1, "Hi"), item(3, " the", "re")]),
    "chat as an object": (CHAT, [CHAT_BODY]),
    "chat as text": (
        CHAT,
        [
            '{"object": "chat.completion", "choices": [{"message": {"content": ""}, '
            '"finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 0, '
            '"total_tokens": 1}}'
        ],
    ),
    "chat stream cut anywhere": (CHAT_STREAM, [EVENT[:9], EVENT[9:], "data: [DO", "NE]\n\n"]),
    "completion": (COMPLETION, [TEXT_BODY]),
    "models": (MODELS, [{"object": "list", "data": [{"id": "a"}]}]),
}
WRONG = {
    "native as an OpenAI body": (NATIVE, [TEXT_BODY], "expected {"),
    "native without usage": (NATIVE, [{"choices": [{"tokens": ["Hi"]}]}], "expected {"),
    "native with nothing": (NATIVE, [], "expected a list of items"),
    "native in pieces without a stream": (NATIVE, [item(1, "a"), item(2, "b")], "2 items, expected one"),
    "native counted anew": ({**NATIVE, "stream": True}, [item(2, "a"), item(1, "b")], "falls from 2 to 1"),
    "native without a token": (NATIVE, [item(0, "")], "nothing was generated"),
    "an error as the body": (CHAT, [{"error": {"message": "no template"}}], "the body is an error"),
    "the old error as the body": (CHAT, [{"object": "error", "message": "x"}], "the body is an error"),
    "no choices": (CHAT, [{**CHAT_BODY, "choices": []}], "choices are []"),
    "no usage": (CHAT, [{**CHAT_BODY, "usage": None}], "usage is null"),
    "the wrong object": (COMPLETION, [CHAT_BODY], "object is 'chat.completion', expected 'text_completion'"),
    "a stream of objects": (CHAT_STREAM, [CHAT_BODY], "expected a list of texts"),
    "a stream without its end": (CHAT_STREAM, [EVENT], "expected data: [DONE]"),
    "a stream without content": (CHAT_STREAM, ["data: [DONE]\n\n"], "the stream contains no text"),
    "a broken event": (CHAT_STREAM, ['data: {"obj\n\n', "data: [DONE]\n\n"], "is not JSON"),
    "an error within the stream": (CHAT_STREAM, ['data: {"error": {}}\n\n', "data: [DONE]\n\n"], "expected object"),
    "no models": (MODELS, [{"object": "list", "data": []}], "expected a list object"),
}


@pytest.mark.parametrize(("job_input", "output"), RIGHT.values(), ids=RIGHT)
def test_the_specified_shapes_pass(job_input: dict[str, Any], output: list[Any]) -> None:
    """Whatever the content."""
    assert mismatch(job_input, {"status": "COMPLETED", "output": output}) is None


@pytest.mark.parametrize(("job_input", "output", "reason"), WRONG.values(), ids=WRONG)
def test_everything_else_fails_with_its_reason(job_input: dict[str, Any], output: list[Any], reason: str) -> None:
    """The reason names the value and what was expected."""
    assert reason in (mismatch(job_input, {"status": "COMPLETED", "output": output}) or "")


def test_a_failed_job_fails_its_case() -> None:
    """With the job's own error."""
    assert mismatch(NATIVE, {"status": "FAILED", "error": "boom"}) == "status FAILED, expected COMPLETED: boom"
