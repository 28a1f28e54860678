"""OpenAI jobs on the echo engine: what is passed on unchanged, and the few fields that are translated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.core import core_on
from tests.support.engines.echo import echo_engine
from worker_vllm.jobs.output import sse

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
LEGACY = ("best_of", "early_stopping", "guided_")


def without(value: Any, *volatile: str) -> Any:
    """The value without its ids and timestamps."""
    if isinstance(value, list):
        return [without(item, *volatile) for item in value]
    if isinstance(value, dict):
        return {key: without(item, *volatile) for key, item in value.items() if key not in volatile}
    return value


@pytest.mark.parametrize("given", [{}, {"openai_input": None}, {"openai_input": {}}], ids=["absent", "null", "empty"])
async def test_a_get_needs_no_body(given: dict[str, Any]) -> None:
    """How the platform sends the body of a GET is unknown."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        result = await core.run({"openai_route": "/v1/models", **given})
    assert [model["id"] for model in result.value["data"]] == ["echo"]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        (CHAT, {"messages": HELLO}),
        ("/v1/completions", {"prompt": ["a", "b"], "n": 2}),
        ("/v1/responses", {"input": "hello"}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 9}),
        ("/v1/messages/count_tokens", {"messages": HELLO}),
        ("/v1/embeddings", {"input": ["a", "b"]}),
        ("/v1/rerank", {"query": "a", "documents": ["a", "b"]}),
        ("/v1/score", {"text_1": "a", "text_2": ["a", "b"]}),
        ("/tokenize", {"prompt": "hé"}),
        ("/detokenize", {"tokens": [104, 233]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_is_the_engines_own(route: str, body: dict[str, Any]) -> None:
    """The same value as over the engine's own socket, as one object that comes with the final result."""
    volatile = ("id", "created", "created_at", "item_id")
    body = {"model": "echo", **body}
    async with echo_engine() as engine, core_on(engine.url) as core:
        direct = await engine.http.post(route, body)
        result = await core.openai(route, body)
        generic = await core.run({"route": route, "method": "post", "body": body})
    assert direct.status == 200, direct.body
    assert without(result.value, *volatile) == without(direct.json, *volatile)
    assert without(generic.value, *volatile) == without(direct.json, *volatile)
    assert [output.streamed for output in result.outputs] == [False]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        (CHAT, {"messages": HELLO, "stream_options": {"include_usage": True}, "n": 2}),
        ("/v1/completions", {"prompt": "hello"}),
        ("/v1/responses", {"input": "hello"}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 9}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_stream_is_the_engines_own_events(route: str, body: dict[str, Any]) -> None:
    """Cut inside characters and mixed with keep-alives, it arrives in complete events, without the keep-alives."""
    volatile = ("id", "created", "created_at", "item_id")
    body = {"model": "echo", "stream": True, **body}
    async with echo_engine() as engine, core_on(engine.url) as core:
        direct = await engine.http.events(route, body)
        await engine.script({"comments": True, "split_utf8": True})
        result = await core.openai(route, body)
    assert without(result.events, *volatile) == without(direct, *volatile)
    assert b"keep-alive" not in result.text
    assert all(output.sse and output.mergeable and output.data.endswith(b"\n\n") for output in result.outputs)
    assert (b"event: " in result.text) == (route in ("/v1/responses", "/v1/messages"))


async def test_a_role_never_travels_alone() -> None:
    """The first output of a chat contains its first content, however late that arrives."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"tpot_ms": 20})
        result = await core.openai(CHAT, {"messages": HELLO, "stream": True})
    first = result.outputs[0].data
    assert b'"role":' in first
    assert sse.parsed(list(sse.events(first))[1])["choices"][0]["delta"]["content"] == "h"


async def body_sent(given: dict[str, Any], route: str = CHAT, **settings: Any) -> dict[str, Any]:
    """The body that reaches the engine for this OpenAI body."""
    async with echo_engine() as engine, core_on(engine.url, **settings) as core:
        await core.openai(route, given)
        found: dict[str, Any] = json.loads((await engine.requests())[-1]["body"])
    return found


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"messages": "hello"}, {"messages": HELLO}),
        ({"guided_choice": ["a"]}, {"structured_outputs": {"choice": ["a"]}}),
        (
            {"guided_json": {"type": "object"}, "guided_whitespace_pattern": " "},
            {"structured_outputs": {"json": {"type": "object"}, "whitespace_pattern": " "}},
        ),
        ({"guided_regex": None}, {}),
        ({"best_of": 1}, {}),
        ({"best_of": 3, "temperature": 0}, {}),
        ({"best_of": None, "early_stopping": False}, {}),
        ({"temperature": 0.0, "max_tokens": 2**70, "user": "\ud800 🦜", "unknown": [1.0, 1, None]}, {}),
    ],
    ids=[
        "text",
        "choice",
        "json",
        "null",
        "best of one",
        "best of equals",
        "defaults",
        "numbers and characters",
    ],
)
async def test_only_what_is_documented_is_translated(given: dict[str, Any], changed: dict[str, Any]) -> None:
    """Everything else reaches the engine unchanged, numbers and characters included."""
    body = {"messages": HELLO, "model": "echo"} | given
    expected = {key: value for key, value in body.items() if not key.startswith(LEGACY)} | changed
    assert await body_sent(body) == expected


@pytest.mark.parametrize("given", [{}, {"model": None}, {"model": ""}], ids=["absent", "null", "empty"])
async def test_the_models_name_is_filled_in_where_the_engine_insists_on_one(given: dict[str, Any]) -> None:
    """Anthropic's routes need it; on all others the engine accepts a missing model, and the body is unchanged."""
    body = {"messages": HELLO, "max_tokens": 9, **given}
    assert await body_sent(body, "/v1/messages") == body | {"model": "echo"}
    assert await body_sent({"messages": HELLO, **given}) == {"messages": HELLO, **given}


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ({"best_of": 1, "n": 2}, "best_of", "best_of: expected n=2 or more, got 1"),
        ({"best_of": "x"}, "best_of", "best_of: expected a whole number, 1 or more, got 'x'"),
        (
            {"early_stopping": "never"},
            "early_stopping",
            "early_stopping: expected false, got 'never'; this engine's beam search always runs to its end",
        ),
        (
            {"guided_decoding_backend": "outlines"},
            "guided_decoding_backend",
            "guided_decoding_backend: a request cannot choose the backend any more; leave it out, or set the "
            "endpoint's GUIDED_DECODING_BACKEND",
        ),
        (
            {"guided_regex": "a", "structured_outputs": {"regex": "b"}},
            "structured_outputs",
            "guided_* and structured_outputs: give one of them",
        ),
        (
            {"best_of": 11, "use_beam_search": True},
            "best_of",
            "best_of: a beam search of width 11 needs 22 log-probabilities a token and this endpoint allows 20; ask "
            "for at most 10 beams, or raise MAX_LOGPROBS",
        ),
    ],
)
async def test_what_cannot_be_obeyed_is_refused(given: dict[str, Any], param: str, message: str) -> None:
    """With an error that states what to do, before any request to the engine."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        result = await core.openai(CHAT, {"messages": HELLO, "model": "echo", **given})
        assert await engine.requests() == []
    assert result.failure == {"message": message, "type": "BadRequestError", "param": param, "code": 400}


@pytest.mark.parametrize("stream", [False, True])
async def test_best_of_ranks_chats_too(stream: bool) -> None:
    """With `stream` the response is sent at its end; log-probabilities are removed unless the body asks for them."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"texts": ["aaa", "b"], "logprob": [-0.1, -0.9]})
        body = {"messages": HELLO, "best_of": 2, "stream": stream, "stream_options": {"include_usage": True}}
        result = await core.openai(CHAT, body)
    if stream:
        chat, usage, done = result.events
        assert (chat["choices"][0]["delta"]["content"], usage["usage"]["completion_tokens"], done) == (
            "aaa",
            4,
            "[DONE]",
        )
    else:
        [choice] = result.value["choices"]
        assert choice["message"]["content"] == "aaa"
        assert choice["logprobs"] is None
        assert result.value["usage"]["completion_tokens"] == 4


async def stream_sizes(**settings: Any) -> list[Any]:
    """The items of a chat of "hello": role, five letters and the end are seven events, then [DONE]."""
    async with echo_engine() as engine, core_on(engine.url, **settings) as core:
        result = await core.openai(CHAT, {"messages": HELLO, "stream": True})
    assert result.error is None
    assert not any(output.mergeable for output in result.outputs)
    return [list(sse.events(output.data)) if output.sse else json.loads(output.data) for output in result.outputs]


async def test_the_operators_batch_sizes_hold_exactly_for_openai_streams() -> None:
    """`[DONE]` counts as an event: 1, 3, then the rest."""
    items = await stream_sizes(batch_sizes_set=True)
    assert [len(item) for item in items] == [1, 3, 4]
    assert items[-1][-1] == sse.DONE


async def test_without_raw_output_items_are_lists_of_parsed_events() -> None:
    """`[DONE]` is dropped and not counted: 1, 3, then the rest."""
    items = await stream_sizes(raw_openai_output=False)
    assert [len(item) for item in items] == [1, 3, 3]
    text = "".join(event["choices"][0]["delta"].get("content") or "" for item in items for event in item)
    assert text == "hello"
