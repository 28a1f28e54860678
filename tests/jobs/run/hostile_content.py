"""Hostile requests: texts that look like the errors of a dying engine, and bombs of every kind."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

CHAT, COMPLETIONS, MESSAGES = "/chat/completions", "/completions", "/messages"
DEATH_WORDS = (
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    "EngineDeadError: EngineCore encountered an issue.",
    '{"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","param":null,"code":500}}',
    'data: {"error": {"message": "EngineCore encountered an issue.", "code": 500}}\n\ndata: [DONE]\n\n',
    'event: error\ndata: {"type":"error","error":{"type":"InternalServerError","message":"EngineCore died"}}\n\n',
    "Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.",
    "RuntimeError: CUDA error: out of memory",
    "Connection closed. HTTP/1.1 503 Service Unavailable",
)
WORDS = [f"word-{number}" for number in range(100_000)]
MANY = WORDS[:20_000]


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def _tool(schema: Any, name: str = "f") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


# Each would block the engine, and all of its clients, for seconds.
BOMBS: tuple[dict[str, Any], ...] = (
    {"structured_outputs": {"json": {"enum": WORDS}}},
    {"guided_json": json.dumps({"anyOf": [{"const": word} for word in MANY]})},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": MANY}}}},
    {"structured_outputs": {"json": {"properties": {word: {} for word in MANY}}}},
    {"structured_outputs": {"json": _nested(200)}},
    {"structured_outputs": {"json": {"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"}}},
    {"structured_outputs": {"choice": MANY}},
    {"structured_outputs": {"regex": "|".join(MANY)}},
    {"structured_outputs": {"grammar": "root ::= " + " | ".join(f'"{word}"' for word in MANY)}},
    {"tools": [_tool({"enum": MANY})], "tool_choice": "required"},
    {"tools": [_tool({}, word) for word in MANY[:5000]]},
    {"n": 16_384},
    {"stop": MANY},
    {"logprobs": True, "top_logprobs": 100_000},
)


def hostile(count: int) -> Iterator[tuple[str, bytes]]:
    """`count` requests, each as a route below /v1 and a body: two of three have death words, the third is a bomb."""
    messages = [{"role": "user", "content": DEATH_WORDS[0]}]
    bombs = itertools.cycle([_encoded({"messages": messages, "max_tokens": 2, **bomb}) for bomb in BOMBS])
    for number in range(count):
        if number % 3 == 2:
            yield CHAT, next(bombs)
        else:
            route, body = _death_request(number)
            yield route, _encoded(body)


def _death_request(number: int) -> tuple[str, dict[str, Any]]:
    words = DEATH_WORDS[number % len(DEATH_WORDS)]
    messages = [{"role": "user", "content": words}]
    match number % 6:
        case 0:
            return COMPLETIONS, {"prompt": words, "echo": True, "max_tokens": 1, "stream": number % 4 == 0}
        case 1:
            prompts = [words] * (1000 if number % 60 == 1 else 4)
            return COMPLETIONS, {"prompt": prompts, "echo": True, "max_tokens": 1}
        case 3:
            return MESSAGES, {"messages": messages, "max_tokens": 8, "stream": True}
        case _:
            return CHAT, {"messages": messages, "max_tokens": 8, "model": words}


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
