"""What queue mode translates reaches the engine in the same words from http mode with TRANSLATE_HTTP=1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.asgi import RecordingApp, call
from tests.support.core import core_on
from tests.support.engines.echo import echo_engine
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import GuardSettings
from worker_vllm.web.reverse_proxy import guarded_proxy

CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
SAY = {"model": "echo", "messages": [{"role": "user", "content": "one"}], "max_tokens": 2}
PROMPT = {"model": "echo", "prompt": "one two", "max_tokens": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "guided json": (CHAT, {**SAY, "guided_json": {"type": "object"}}),
    "nested guided": (COMPLETIONS, {**PROMPT, "guided_decoding": {"choice": ["a", "b"]}}),
    "messages as a text": (CHAT, {**SAY, "messages": "one é \ud800"}),
    "best_of": (COMPLETIONS, {**PROMPT, "best_of": 3}),
    "best_of of n": (CHAT, {**SAY, "best_of": 2, "n": 2}),
    "best_of stream": (CHAT, {**SAY, "best_of": 2, "stream": True}),
    "early stopping": (CHAT, {**SAY, "early_stopping": False}),
    "no model": (MESSAGES, {key: value for key, value in SAY.items() if key != "model"}),
    "nothing": (CHAT, SAY),
}
ON = GuardSettings(translate=True, served_name="echo")


@pytest.mark.parametrize(("path", "body"), CASES.values(), ids=CASES)
async def test_the_engine_is_asked_the_same_in_both_modes(path: str, body: dict[str, Any]) -> None:
    async with echo_engine() as engine, core_on(engine.url) as queue:
        result = await queue.openai(path, body)
        assert result.error is None
        expected = [json.loads(one["body"]) for one in await engine.requests() if one["path"] == path]
    app = RecordingApp(b'{"choices":[],"usage":{},"object":"chat.completion"}')
    reply = await call(RequestGuard(app, ON), "POST", path, json.dumps(body).encode())
    assert reply.status == 200
    assert [seen.json for seen in app.seen] == expected
    assert {seen.headers.get("content-length") for seen in app.seen} <= {None, str(len(app.seen[0].body))}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**SAY, "best_of": 1, "n": 2}, "best_of"),
        ({**SAY, "early_stopping": True}, "early_stopping"),
        ({**SAY, "guided_json": {}, "structured_outputs": {"json": {}}}, "structured_outputs"),
        ({**SAY, "guided_decoding_backend": "x"}, "guided_decoding_backend"),
    ],
)
async def test_what_cannot_be_translated_is_refused(body: dict[str, Any], param: str) -> None:
    reply = await call(RequestGuard(app := RecordingApp(), ON), "POST", CHAT, body)
    assert (reply.status, reply.error["param"], app.seen) == (400, param, [])


async def test_an_engines_error_and_a_strange_answer_of_a_ranked_request() -> None:
    body = {**SAY, "best_of": 2}
    reply = await call(RequestGuard(RecordingApp(b"[]"), ON), "POST", CHAT, body)
    assert reply.status == 500
    async with echo_engine() as engine:
        async with guarded_proxy(engine.url, ON) as guard:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"1")]
            reply = await call(guard, "POST", CHAT, {**body, "model": "other"}, headers)
            assert (reply.status, reply.error["code"]) == (404, 404)
