"""Jobs at the edges of what a platform carries, through gateway, worker and engine: served or refused, never hung."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from tests.support.http import Http, parse_events
from tests.support.stack import Stack

CHAT = "/v2/local/openai/v1/chat/completions"
PICTURE = base64.b64encode(b"\x89PNG" + b"\x00" * 6_750_000).decode()  # 9 MB of text
LONG_TOKENS, TOO_LONG_TOKENS = 100_000, 140_000  # the embedded model takes 131,072


def picture_body(model: str) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    content = [image, {"type": "text", "text": "hello"}]
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 16}


async def test_a_body_of_nine_megabytes_arrives(echo_stack: Stack) -> None:
    async with Http(echo_stack.root) as gateway:
        answer = await gateway.post(CHAT, picture_body("echo"))
        native = await gateway.post("/v2/local/runsync", {"input": {"messages": picture_body("echo")["messages"]}})
    assert answer.json["choices"][0]["message"]["content"] == "hello"
    assert native.json["output"][0]["choices"] == [{"tokens": ["hello"]}]


async def test_five_jobs_wait_for_a_full_engine(echo_stack: Stack) -> None:
    """It answers 503 to the first ten requests; none of the five jobs fails for that."""
    async with Http(echo_stack.root) as gateway, Http(echo_stack.engine_url) as engine:
        await engine.post("/echo/script", {"script": {"status": 503, "message": "full"}, "times": 10})
        body = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
        answers = await asyncio.gather(*[gateway.post(CHAT, body) for _ in range(5)])
    for answer in answers:
        assert answer.status == 200
        events = parse_events(answer.body)
        assert events[-1] == "[DONE]"
        text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events[:-1])
        assert text == "hello"


@pytest.mark.matrix
@pytest.mark.timeout(150)
async def test_a_prefill_of_a_minute_ends_well(echo_stack: Stack) -> None:
    """A minute in which nothing moves on any connection, for a stream and for a whole answer."""
    async with Http(echo_stack.root) as gateway, Http(echo_stack.engine_url) as engine:
        await engine.post("/echo/script", {"script": {"ttft_ms": 60_000}, "times": 2})
        body = {"messages": [{"role": "user", "content": "hello"}]}
        whole, stream = await asyncio.gather(gateway.post(CHAT, body), gateway.post(CHAT, {**body, "stream": True}))
    assert whole.json["choices"][0]["message"]["content"] == "hello"
    assert parse_events(stream.body)[-1] == "[DONE]"


@pytest.mark.vllm
async def test_a_text_model_refuses_a_picture_of_nine_megabytes(real_stack: Stack) -> None:
    async with Http(real_stack.root) as gateway:
        answer = await gateway.post(CHAT, picture_body("parrot"))
    assert answer.status == 400
    assert answer.json["error"]["type"] == "BadRequestError"


@pytest.mark.vllm
async def test_a_prompt_of_a_hundred_thousand_tokens_arrives_complete(real_stack: Stack) -> None:
    """The engine reads all of it and keeps the end; a prefill of all of it would take this CPU an hour."""
    sampling = {"max_tokens": 4, "temperature": 0}
    async with Http(real_stack.root) as gateway:
        tokens = await gateway.post("/v2/local/openai/tokenize", {"prompt": "a" * LONG_TOKENS})
        kept = await gateway.post(
            "/v2/local/runsync",
            {"input": {"prompt": "a" * LONG_TOKENS, "sampling_params": {**sampling, "truncate_prompt_tokens": 32}}},
        )
        refused = await gateway.post(
            "/v2/local/runsync", {"input": {"prompt": "a" * TOO_LONG_TOKENS, "sampling_params": sampling}}
        )
    assert tokens.json["count"] >= LONG_TOKENS
    assert kept.json["output"][0]["usage"] == {"input": 32, "output": 4}
    assert refused.json["status"] == "FAILED"
    assert '"code": 400' in refused.json["error"]
