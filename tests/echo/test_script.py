"""Scripted speed and failures of the echo engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.engines.echo import EchoEngine, echo_engine
from tests.support.http import parse_events

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@pytest.fixture
async def echo() -> AsyncIterator[EchoEngine]:
    async with echo_engine() as engine:
        yield engine


def body(text: str = "abcdef", **echo: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "stream": True, "echo": echo}


def contents(events: list[Any]) -> list[str]:
    return [e["choices"][0]["delta"]["content"] for e in events if isinstance(e, dict) and e.get("choices")]


async def test_a_scripted_status_refuses_before_the_stream(echo: EchoEngine) -> None:
    """An HTTP error with the scripted message and Retry-After."""
    answer = await echo.http.post(CHAT, body(status=429, message="slow down", retry_after="3"))
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert answer.json == {"error": {"message": "slow down", "type": "Too Many Requests", "param": None, "code": 429}}


async def test_fail_after_ends_the_stream_with_an_error_event(echo: EchoEngine) -> None:
    """As in vLLM: status 200, an error event, [DONE]; without streaming, HTTP 500."""
    events = await echo.http.events(CHAT, body(fail_after=2, message="broke"))
    error = {"error": {"message": "broke", "type": "InternalServerError", "param": None, "code": 500}}
    assert contents(events[:-2]) == ["", "a", "b"]
    assert events[-2:] == [error, "[DONE]"]
    whole = await echo.http.post(CHAT, {**body(fail_after=2, message="broke"), "stream": False})
    assert (whole.status, whole.json) == (500, error)


@pytest.mark.parametrize("after", [0, 2])
async def test_disconnect_after_breaks_the_connection(echo: EchoEngine, after: int) -> None:
    """Before the first byte of the response, or in the middle of the stream."""
    with pytest.raises(aiohttp.ClientError):
        await echo.http.post(CHAT, body(disconnect_after=after))
    await echo.until(running=0)


async def test_hang_after_blocks_until_the_client_disconnects(echo: EchoEngine) -> None:
    """The first tokens arrive, then nothing; a disconnect frees the slot at once."""
    async with echo.http.open("POST", CHAT, body(hang_after=1)) as answer:
        seen = b""
        while b'"a"' not in seen:
            seen += await answer.content.readany()
        assert (await echo.until(running=1))["running"] == 1
    assert (await echo.until(running=0))["finished"] == {"abort": 1}


async def test_a_gate_lets_through_as_many_tokens_as_released(echo: EchoEngine) -> None:
    """A test controls when each token is sent."""
    async with echo.http.open("POST", CHAT, body(gate="g")) as answer:
        for permits, expected in ((1, "a"), (2, "abc")):
            await echo.control("release", {"gate": "g", "tokens": permits})
            seen = b""
            while expected[-1] not in "".join(contents(parse_events(seen))):
                seen += await answer.content.readany()
        await echo.control("release", {"gate": "g", "tokens": 4})
        rest = parse_events(await answer.read())
    assert "".join(contents(rest)) == "def"


async def test_merge_puts_several_tokens_into_an_event(echo: EchoEngine) -> None:
    """Text and counts are the same as with single steps."""
    events = await echo.http.events(
        CHAT,
        body(merge=3) | {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    )
    assert [(e["choices"][0]["delta"]["content"], e["usage"]["completion_tokens"]) for e in events[:-2]] == [
        ("", 0),
        ("abc", 3),
        ("def", 6),
        ("", 7),
    ]


async def test_split_utf8_breaks_writes_inside_characters(echo: EchoEngine) -> None:
    """A read ends inside a character; the joined bytes are the same stream."""
    pieces = []
    async with echo.http.open("POST", CHAT, body("é🦜", split_utf8=True)) as answer:
        async for piece in answer.content.iter_any():
            pieces.append(piece)
    assert "".join(contents(parse_events(b"".join(pieces))[:-1])) == "é🦜"
    with pytest.raises(UnicodeDecodeError):
        [piece.decode() for piece in pieces]


async def test_comments_stand_between_events(echo: EchoEngine) -> None:
    """Keep-alive comments, as a proxy sends them."""
    answer = await echo.http.post(CHAT, body("a", comments=True))
    assert answer.body.count(b": keep-alive\n\n") == 4
    assert contents(parse_events(answer.body)[:-1]) == ["", "a", ""]


async def test_a_directive_in_the_text_works_on_every_route(echo: EchoEngine) -> None:
    """It is removed from the text, also where the prompt is token ids."""
    text = '[[echo {"logprob": -2.5}]]hi'
    for request in ({"prompt": text}, {"prompt": [*map(ord, text)]}):
        choice = (await echo.http.post(COMPLETIONS, {**request, "logprobs": 0})).json["choices"][0]
        assert (choice["text"], choice["logprobs"]["token_logprobs"]) == ("hi", [-2.5] * 3)


async def test_reasoning_has_its_own_field_where_the_route_has_one(echo: EchoEngine) -> None:
    """Chat separates it; a completion returns the model's raw text."""
    script = {"reasoning": "hm", "text": "ok"}
    chat = (await echo.http.post(CHAT, {**body(**script), "stream": False})).json["choices"][0]["message"]
    assert (chat["reasoning"], chat["content"]) == ("hm", "ok")
    plain = (await echo.http.post(COMPLETIONS, {"prompt": "x", "max_tokens": 99, "echo": script})).json
    assert plain["choices"][0]["text"] == "<think>hm</think>ok"


async def test_each_sequence_can_have_its_own_text(echo: EchoEngine) -> None:
    """Texts and log-probabilities per sequence, for the ranking of best_of."""
    script = {"texts": ["a", "b"], "logprob": [-3.0, -1.0]}
    whole = (await echo.http.post(COMPLETIONS, {"prompt": "x", "n": 2, "logprobs": 0, "echo": script})).json
    assert [(c["text"], c["logprobs"]["token_logprobs"][0]) for c in whole["choices"]] == [("a", -3.0), ("b", -1.0)]


async def test_the_control_channel_scripts_the_next_requests_only(echo: EchoEngine) -> None:
    """Two errors, then a response."""
    await echo.script({"status": 503}, times=2)
    request = {"prompt": "x"}
    assert [(await echo.http.post(COMPLETIONS, request)).status for _ in range(3)] == [503, 503, 200]
    assert [seen["path"] for seen in await echo.requests()] == [COMPLETIONS] * 3


async def test_health_can_be_scripted(echo: EchoEngine) -> None:
    """The status of /health as scripted."""
    await echo.control("health", {"status": 503})
    assert (await echo.http.get("/health")).status == 503


@pytest.mark.parametrize(
    "changes",
    [{"ttfb_ms": 1}, {"status": "many"}, {"merge": 1.5}, {"texts": []}, ["status", 500]],
    ids=["unknown field", "wrong type", "not whole", "empty list", "not an object"],
)
async def test_a_wrong_script_is_refused(echo: EchoEngine, changes: Any) -> None:
    """An unknown field or a wrong type is an error."""
    answer = await echo.http.post("/echo/script", {"script": changes})
    assert (answer.status, answer.json["error"]["param"]) == (400, "echo")


async def test_time_to_first_token_is_a_prefill(echo: EchoEngine) -> None:
    """The stream's headers come at once, as vLLM's do; the request counts as running during its prefill."""
    async with echo.http.open("POST", CHAT, body("a", ttft_ms=60_000)) as answer:
        assert answer.status == 200
        await echo.until(running=1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(answer.content.readany(), 0.05)
    await echo.until(running=0)
