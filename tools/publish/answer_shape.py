"""Validation of a job's output against its input: the format that the specification's clients read, not the content.

The Hub itself checks only for HTTP 200, which a completed job with an error object passes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

NATIVE_ITEM = '{"choices": [{"tokens": [text, …]}, …], "usage": {"input": count, "output": count}}'

Check = Callable[[Mapping[str, Any], Any], str | None]


def mismatch(job_input: Mapping[str, Any], status: Mapping[str, Any]) -> str | None:
    """Why a final status object does not answer an input; None when it does."""
    if status.get("status") != "COMPLETED":
        return f"status {status.get('status')}, expected COMPLETED: {status.get('error', 'without an error')}"
    return _check_of(job_input)(job_input, status.get("output"))


def _check_of(job_input: Mapping[str, Any]) -> Check:
    route = job_input.get("openai_route")
    if not route:
        return _native
    if route == "/v1/models":
        return _models
    streams = bool((job_input.get("openai_input") or {}).get("stream"))
    return _openai_stream if streams else _openai


def _native(job_input: Mapping[str, Any], output: Any) -> str | None:
    """A list of items, each with choices of tokens and a usage of input and output; one item unless it streams."""
    if not isinstance(output, list) or not output:
        return f"output is {_excerpt(output)}, expected a list of items"
    if not job_input.get("stream") and len(output) != 1:
        return f"{len(output)} items, expected one for a request that does not stream"
    counted = 0
    for item in output:
        tokens = [choice.get("tokens") for choice in item["choices"]] if _is_item(item) else None
        if not tokens or not all(isinstance(texts, list) and all(_texts(texts)) for texts in tokens):
            return f"item {_excerpt(item)}, expected {NATIVE_ITEM}"
        if item["usage"]["output"] < counted:
            return f"usage.output falls from {counted} to {item['usage']['output']}: it counts up over a stream"
        counted = item["usage"]["output"]
    return None if counted > 0 else "usage.output is 0: nothing was generated"


def _is_item(item: Any) -> bool:
    if not isinstance(item, dict) or set(item) != {"choices", "usage"} or not isinstance(item["choices"], list):
        return False
    usage = item["usage"]
    return isinstance(usage, dict) and all(isinstance(usage.get(name), int) for name in ("input", "output"))


def _texts(texts: list[Any]) -> list[bool]:
    return [isinstance(text, str) for text in texts]


def _models(_: Mapping[str, Any], output: Any) -> str | None:
    """`{"object": "list", "data": [{"id": …}, …]}`."""
    body = _body(output)
    entries = body.get("data") if body is not None and body.get("object") == "list" else None
    if not isinstance(entries, list) or not entries or not all(isinstance(each.get("id"), str) for each in entries):
        return f"output is {_excerpt(output)}, expected a list object with the models' ids"
    return None


def _openai(job_input: Mapping[str, Any], output: Any) -> str | None:
    """One completion object with its choices and its usage."""
    body = _body(output)
    if body is None:
        return f"output is {_excerpt(output)}, expected one JSON object"
    if "error" in body or body.get("object") == "error":
        return f"the body is an error: {_excerpt(body)}"
    chat = "chat" in job_input["openai_route"]
    kind = "chat.completion" if chat else "text_completion"
    if body.get("object") != kind:
        return f"object is {body.get('object')!r}, expected {kind!r}"
    if not all(_has_text(choice, chat) for choice in body.get("choices") or [{}]):
        return f"choices are {_excerpt(body.get('choices'))}, expected text and finish_reason in each"
    usage = body.get("usage") or {}
    if not all(isinstance(usage.get(name), int) for name in ("prompt_tokens", "completion_tokens", "total_tokens")):
        return f"usage is {_excerpt(body.get('usage'))}, expected prompt, completion and total tokens"
    return None


def _has_text(choice: Mapping[str, Any], chat: bool) -> bool:
    text = (choice.get("message") or {}).get("content") if chat else choice.get("text")
    return isinstance(text, str) and isinstance(choice.get("finish_reason"), str)


def _openai_stream(job_input: Mapping[str, Any], output: Any) -> str | None:
    """Server-sent events as text, split anywhere: JSON chunks, at least one with content, then [DONE]."""
    if not isinstance(output, list) or not all(_texts(output)):
        return f"output is {_excerpt(output)}, expected a list of texts"
    events = [event.removeprefix("data: ") for event in "".join(output).split("\n\n") if event.strip()]
    if not events or events[-1].strip() != "[DONE]":
        return f"the stream ends with {_excerpt(events[-1:])}, expected data: [DONE]"
    kind = "chat.completion.chunk" if "chat" in job_input["openai_route"] else "text_completion"
    content = ""
    for event in events[:-1]:
        try:
            chunk = json.loads(event)
        except ValueError:
            return f"event {_excerpt(event)} is not JSON"
        if chunk.get("object") != kind:
            return f"event {_excerpt(chunk)}, expected object {kind!r}"
        for choice in chunk.get("choices", ()):
            content += (choice.get("delta") or {}).get("content") or choice.get("text") or ""
    return None if content else "the stream contains no text"


def _body(output: Any) -> dict[str, Any] | None:
    """The body of an OpenAI answer: the first item, an object or its JSON text; None for anything else."""
    first = output[0] if isinstance(output, list) and len(output) == 1 else output
    if isinstance(first, str):
        try:
            first = json.loads(first)
        except ValueError:
            return None
    return first if isinstance(first, dict) else None


def _excerpt(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"
