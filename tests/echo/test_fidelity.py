"""The echo engine's responses equal vLLM's: same status, fields, types and order of events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.engines.echo import echo_engine
from tests.support.http import Answer, Http

pytestmark = pytest.mark.vllm

CHAT_MESSAGES = [{"role": "user", "content": "hello"}]
EVERY_USAGE = {"include_usage": True, "continuous_usage_stats": True}
CHAT, COMPLETIONS, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"

REQUESTS: list[tuple[str, Any]] = [
    (CHAT, {"messages": CHAT_MESSAGES}),
    (CHAT, {"messages": CHAT_MESSAGES, "logprobs": True, "top_logprobs": 2}),
    (CHAT, {"messages": CHAT_MESSAGES, "stream": True}),
    (CHAT, {"messages": CHAT_MESSAGES, "stream": True, "stream_options": EVERY_USAGE}),
    (CHAT, {"messages": CHAT_MESSAGES, "stream": True, "logprobs": True, "return_token_ids": True}),
    (COMPLETIONS, {"prompt": "hello"}),
    (COMPLETIONS, {"prompt": "hello", "logprobs": 0, "return_token_ids": True}),
    (COMPLETIONS, {"prompt": ["a", "b"], "n": 2, "echo": True}),
    (COMPLETIONS, {"prompt": "hello", "stream": True, "stream_options": EVERY_USAGE}),
    (COMPLETIONS, {"prompt": "hello", "stream": True, "logprobs": 0}),
    (MESSAGES, {"model": "parrot", "messages": CHAT_MESSAGES, "max_tokens": 20}),
    (MESSAGES, {"model": "parrot", "messages": CHAT_MESSAGES, "max_tokens": 20, "stream": True}),
    ("/v1/messages/count_tokens", {"model": "parrot", "messages": CHAT_MESSAGES}),
    (RESPONSES, {"input": "hello", "max_output_tokens": 20}),
    (RESPONSES, {"input": "hello", "max_output_tokens": 20, "stream": True}),
    ("/tokenize", {"messages": CHAT_MESSAGES}),
    ("/tokenize", {"prompt": "a", "return_token_strs": True}),
    ("/detokenize", {"tokens": [65]}),
    (COMPLETIONS, {"prompt": "a", "model": "unknown"}),
    (COMPLETIONS, {"prompt": "a", "stop": [str(number) for number in range(300)]}),
    (COMPLETIONS, {"prompt": "a", "max_tokens": "many"}),
    (COMPLETIONS, {"prompt": "a", "n": 0}),
    (COMPLETIONS, {"prompt": "a", "n": 10**20}),
    (COMPLETIONS, {"prompt": "a", "logprobs": 21}),
    (CHAT, {"messages": CHAT_MESSAGES, "logprobs": True, "top_logprobs": 21}),
    (COMPLETIONS, {"prompt": "a", "stream_options": EVERY_USAGE}),
    (COMPLETIONS, {}),
    (COMPLETIONS, b"{"),
    (CHAT, {"messages": []}),
    (CHAT, {}),
    (CHAT, {"messages": CHAT_MESSAGES, "max_tokens": -1}),
]


def shape(value: Any) -> Any:
    """Field names and types; for a list, those of its first element."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def outline(answer: Answer) -> Any:
    """A response's structure: of a stream, of each event without repetitions; of an error, without its message."""
    if answer.status != 200:
        return answer.status, {**answer.json["error"], "message": ""}
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return shape(answer.json)
    events: list[Any] = []
    for event in filter(None, answer.body.decode().split("\n\n")):
        *named, data = event.splitlines()
        payload = data.removeprefix("data: ")
        found = (named, payload if payload == "[DONE]" else event_shape(json.loads(payload)))
        if not events or events[-1] != found:
            events.append(found)
    return events


def event_shape(event: Any) -> Any:
    """The structure of an event; under load vLLM puts several tokens into one, the end token among them."""
    for choice in event.get("choices", ()):
        choice.get("delta", {}).pop("content", None)
        if tops := (choice.get("logprobs") or {}).get("top_logprobs"):
            choice["logprobs"]["top_logprobs"] = [list(top.values()) for top in tops]  # its names are the tokens
    return shape(event)


@pytest.mark.parametrize(("path", "body"), REQUESTS, ids=lambda value: json.dumps(value, default=str)[:60])
async def test_the_same_outline(real_engine: str, path: str, body: Any) -> None:
    """A client finds the same structure in both responses."""
    async with Http(real_engine) as vllm, echo_engine(names=("parrot",)) as echo:
        answers = [await http.post(path, body) for http in (echo.http, vllm)]
    ours, theirs = map(outline, answers)
    assert ours == theirs
