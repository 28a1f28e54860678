"""A complete response as an event stream: one event per sequence, the usage, `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker_vllm.jobs.output import sse


def synthetic_events(answer: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[bytes]:
    """The events of a completions or chat response, with usage when `stream_options` in the body asks for it."""
    head = {key: answer.get(key) for key in ("id", "object", "created", "model")}
    if head["object"] == "chat.completion":
        head["object"] = "chat.completion.chunk"
    for choice in answer["choices"]:
        yield sse.event({**head, "choices": [_as_delta(choice)]})
    options = body.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage"):
        yield sse.event({**head, "choices": [], "usage": answer["usage"]})
    yield sse.DONE


def _as_delta(choice: Mapping[str, Any]) -> dict[str, Any]:
    if "message" not in choice:
        return dict(choice)
    rest = {key: value for key, value in choice.items() if key != "message"}
    delta = {key: value for key, value in choice["message"].items() if value not in (None, [])}
    if calls := delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return {"index": choice["index"], "delta": delta, **rest}
