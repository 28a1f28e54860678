"""The echo engine's responses have vLLM 0.32's format and exact counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.engines.echo import EchoEngine, echo_engine
from worker_vllm.echo import EngineLimits

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hé€🦜"}]


@pytest.fixture
async def echo() -> AsyncIterator[EchoEngine]:
    async with echo_engine(names=("parrot", "second"), limits=EngineLimits(max_model_len=200)) as engine:
        yield engine


def steady(value: Any) -> Any:
    """A response without the fields that differ from call to call."""
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if k not in ("id", "created", "created_at", "item_id")}
    return [steady(item) for item in value] if isinstance(value, list) else value


async def test_chat_repeats_the_last_user_message(echo: EchoEngine) -> None:
    """One token per character and one for the end; the prompt's tokens are those of the rendered template."""
    answer = (await echo.http.post(CHAT, {"messages": USER})).json
    count = (await echo.http.post("/tokenize", {"messages": USER})).json["count"]
    assert steady(answer)["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "hé€🦜",
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
            "token_ids": None,
            "routed_experts": None,
        }
    ]
    usage = {"prompt_tokens": count, "completion_tokens": 5, "total_tokens": count + 5}
    assert {**answer["usage"], **usage} == answer["usage"]


async def test_chat_stream_has_the_role_first_and_usage_everywhere(echo: EchoEngine) -> None:
    """The complete event sequence with `continuous_usage_stats`."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"messages": [{"role": "user", "content": "né"}], "stream": True, "stream_options": options}
    events = await echo.http.events(CHAT, body)

    def chunk(delta: dict[str, Any], made: int, **more: Any) -> dict[str, Any]:
        top = {k: v for k, v in more.items() if k.startswith("prompt_")}
        end = {k: v for k, v in more.items() if not k.startswith("prompt_")}
        usage = {
            "prompt_tokens": 5,
            "total_tokens": 5 + made,
            "completion_tokens": made,
            "completion_tokens_details": None,
        }
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **end}
        head = {"object": "chat.completion.chunk", "model": "parrot"}
        return {**head, "choices": [choice], "usage": usage, **top}

    final = {
        "object": "chat.completion.chunk",
        "model": "parrot",
        "choices": [],
        "usage": {"prompt_tokens": 5, "total_tokens": 8, "completion_tokens": 3},
        "system_fingerprint": "vllm-0.32.0-echo",
    }
    assert steady(events) == [
        chunk({"role": "assistant", "content": ""}, 0, prompt_token_ids=None, prompt_text=None),
        chunk({"content": "n"}, 1, token_ids=None),
        chunk({"content": "é"}, 2, token_ids=None),
        chunk({"content": ""}, 3, finish_reason="stop", stop_reason=None, token_ids=None),
        final,
        "[DONE]",
    ]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("n", [1, 3])
async def test_a_stream_joins_to_the_full_response(echo: EchoEngine, path: str, n: int) -> None:
    """Every choice's deltas join to its text; choices are in order within each step."""
    body = {"messages": USER, "prompt": "some text", "n": n, "max_tokens": 6}
    whole = (await echo.http.post(path, body)).json
    pieces = [""] * n
    order = []
    for event in (await echo.http.events(path, {**body, "stream": True}))[:-1]:
        (choice,) = event["choices"]
        text = choice["text"] if "text" in choice else choice["delta"]["content"]
        pieces[choice["index"]] += text
        order.append(choice["index"])
    texts = [c["text"] if "text" in c else c["message"]["content"] for c in whole["choices"]]
    assert pieces == texts
    assert order == list(range(n)) * (len(order) // n)


async def test_prompts_and_token_ids_are_answered_each(echo: EchoEngine) -> None:
    """A list of prompts gives n choices for each, numbered over all prompts; token ids are equivalent to text."""
    ids = (await echo.http.post("/tokenize", {"prompt": "two"})).json["tokens"]
    whole = (await echo.http.post(COMPLETIONS, {"prompt": [[*b"one"], ids], "n": 2})).json
    assert [(c["index"], c["text"]) for c in whole["choices"]] == [(0, "one"), (1, "one"), (2, "two"), (3, "two")]
    assert whole["usage"]["prompt_tokens"] == 6
    assert whole["usage"]["completion_tokens"] == 16


async def test_a_rendered_chat_completes_to_the_last_user_message(echo: EchoEngine) -> None:
    """`/tokenize` with messages, then `/v1/completions` with its ids, as native jobs do."""
    ids = (await echo.http.post("/tokenize", {"messages": USER})).json["tokens"]
    whole = (await echo.http.post(COMPLETIONS, {"prompt": ids})).json
    assert whole["choices"][0]["text"] == "hé€🦜"
    back = (await echo.http.post("/detokenize", {"tokens": ids})).json
    assert back == {"prompt": "<|system|>be kind<|end|><|user|>hé€🦜<|end|><|assistant|>"}


async def test_log_probabilities_cover_every_token(echo: EchoEngine) -> None:
    """Chat and completions, each in its own format."""
    chat = (await echo.http.post(CHAT, {"messages": USER, "logprobs": True, "top_logprobs": 2})).json
    content = chat["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == ["h", "é", "€", "🦜", "<|end|>"]
    assert [len(entry["top_logprobs"]) for entry in content] == [2] * 5
    completion = (await echo.http.post(COMPLETIONS, {"prompt": "ab", "logprobs": 1, "max_tokens": 2})).json
    assert completion["choices"][0]["logprobs"] == {
        "text_offset": [0, 1],
        "token_logprobs": [-0.1, -0.1],
        "tokens": ["a", "b"],
        "top_logprobs": [{"a": -0.1}, {"b": -0.1}],
    }


REFUSED = [
    pytest.param({"prompt": "x", "model": "unknown"}, 404, "NotFoundError", "model", id="unknown model"),
    pytest.param({}, 400, "BadRequestError", "prompt", id="no prompt"),
    pytest.param({"prompt": "x", "max_tokens": "many"}, 400, "Bad Request", "body.max_tokens", id="wrong type"),
    pytest.param({"prompt": "x", "n": 0}, 400, "BadRequestError", None, id="too small"),
    pytest.param({"prompt": "x" * 200}, 400, "BadRequestError", "input_tokens", id="longer than the context"),
    pytest.param({"prompt": "x", "stop": list("abcde")}, 400, "Bad Request", "body.stop", id="five stop strings"),
    pytest.param(
        {"prompt": "x", "stream_options": {"include_usage": True}}, 400, "BadRequestError", "stream_options"
    ),
    pytest.param({"prompt": "x", "n": 10**20}, 400, "BadRequestError", None, id="more answers than there can be"),
    pytest.param({"prompt": "x", "logprobs": 21}, 400, "BadRequestError", "logprobs", id="too many alternatives"),
    pytest.param({"prompt": "x", "model": "\ud83e"}, 404, "NotFoundError", "model", id="half an emoji for a name"),
    pytest.param(b'{"prompt":', 400, "Bad Request", "body.10", id="not JSON"),
]


@pytest.mark.parametrize(("body", "status", "kind", "param"), REFUSED)
async def test_errors_have_vllms_format(
    echo: EchoEngine, body: Any, status: int, kind: str, param: str | None
) -> None:
    """Status, type, param and code agree; the message is not empty."""
    answer = await echo.http.post(COMPLETIONS, body)
    error = answer.json["error"]
    assert (answer.status, error["type"], error["param"], error["code"]) == (status, kind, param, status)
    assert error["message"]


async def test_unknown_routes_and_methods(echo: EchoEngine) -> None:
    """The errors of vLLM's HTTP layer."""
    assert (await echo.http.get("/nowhere")).json["error"]["code"] == 404
    assert (await echo.http.get(CHAT)).json["error"]["code"] == 405


async def test_models_are_listed_in_order(echo: EchoEngine) -> None:
    """The first name is the default."""
    cards = (await echo.http.get("/v1/models")).json["data"]
    assert [(card["id"], card["max_model_len"]) for card in cards] == [("parrot", 200), ("second", 200)]


async def test_pooling_routes_are_deterministic(echo: EchoEngine) -> None:
    """The same input has the same vector; the most similar document comes first."""
    body = {"input": ["a", "b", "a"]}
    rows = [row["embedding"] for row in (await echo.http.post("/v1/embeddings", body)).json["data"]]
    assert rows[0] == rows[2] != rows[1]
    ranked = (await echo.http.post("/rerank", {"query": "cat", "documents": ["dog", "act", "cart"]})).json
    assert [result["index"] for result in ranked["results"]] == [1, 2, 0]
    scored = (await echo.http.post("/score", {"text_1": "cat", "text_2": ["dog", "act"]})).json
    assert [row["score"] for row in scored["data"]] == [0.0, 1.0]
