"""What the specification promises of generation, on the real engine: each promise with a check that could fail."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.core import Core, core_on

pytestmark = pytest.mark.vllm

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "enum": [1, 2]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.fixture
async def core(real_engine: str) -> AsyncIterator[Core]:
    """The worker core on the real engine."""
    async with core_on(real_engine) as core:
        yield core


def ask(text: str, **fields: Any) -> dict[str, Any]:
    """A chat body that asks for this text back."""
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 64, **fields}


# the parrot repeats it as far as the schema lets it
TRIP = '{"city": "Paris", "days": 9}'
# As the hermes parser's grammar writes a call; the name and the days fit neither tool nor schema.
CALL = '<tool_call>{"name": "trap", "arguments": {"city": "Rome", "days": 9}}</tool_call>'


def check_schema(value: Any) -> None:
    assert value.keys() == {"city", "days"}
    assert value["city"] in ("Oslo", "Rome")
    assert value["days"] in (1, 2)


async def token(core: Core, text: str) -> int:
    """The id of a text that is one token."""
    tokens = (await core.openai("/tokenize", {"prompt": text, "add_special_tokens": False})).value["tokens"]
    assert len(tokens) == 1
    return int(tokens[0])


async def coin(core: Core) -> dict[str, Any]:
    """Sampling that tosses a coin between two letters, 24 times."""
    bias = {str(await token(core, letter)): 30 for letter in "ab"}
    return {"temperature": 2.0, "max_tokens": 24, "ignore_eos": True, "logit_bias": bias}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["hello", "Größe", "漢字 🦜", '{"a": [1]}'])
async def test_a_native_job_gives_the_text_back_with_true_counts(core: Core, text: str, stream: bool) -> None:
    """Counts are the tokenizer's: one per byte here, and the end."""
    sampling = {"temperature": 0, "max_tokens": 64}
    for given in ({"messages": text}, {"prompt": text, "apply_chat_template": True}, {"prompt": text}):
        result = await core.run({**given, "sampling_params": sampling, "stream": stream})
        assert result.error is None
        assert "".join(part for item in result.items for part in item["choices"][0]["tokens"]) == text
        assert result.items[-1]["usage"]["output"] == len(text.encode()) + 1
        assert result.items[-1]["usage"]["input"] > len(text.encode())


async def test_native_streams_have_the_originals_sizes(core: Core) -> None:
    """60 tokens: 1, 3, 9, 27 and the rest; an event of several tokens may only make an item larger."""
    sampling = {"temperature": 0, "max_tokens": 60, "ignore_eos": True, "min_tokens": 60}
    result = await core.run({"prompt": "x" * 60, "sampling_params": sampling, "stream": True})
    counts = [item["usage"]["output"] for item in result.items]
    assert counts[-1] == 60
    sizes = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert all(size >= least for size, least in zip(sizes[:-1], [1, 3, 9, 27], strict=False))
    assert len(sizes) >= 2


async def test_a_bias_forces_a_token(core: Core) -> None:
    forced = await token(core, "z")
    body = {"prompt": "abc", "max_tokens": 3, "logit_bias": {str(forced): 100}}
    assert (await core.openai(COMPLETIONS, body)).value["choices"][0]["text"] == "zzz"
    native = await core.run({"prompt": "abc", "sampling_params": {"max_tokens": 3, "logit_bias": {str(forced): 100}}})
    assert native.value["choices"] == [{"tokens": ["zzz"]}]


async def test_only_allowed_tokens_and_never_bad_words(core: Core) -> None:
    allowed = [await token(core, "a"), await token(core, "b")]
    body = {"prompt": "xyz", "max_tokens": 8, "allowed_token_ids": allowed, "ignore_eos": True, "seed": 1}
    assert set((await core.openai(COMPLETIONS, body)).value["choices"][0]["text"]) <= {"a", "b"}
    body = {"prompt": "aaaa", "max_tokens": 8, "bad_words": ["a"], "temperature": 0}
    assert "a" not in (await core.openai(COMPLETIONS, body)).value["choices"][0]["text"]


async def test_the_same_seed_gives_the_same_text_and_another_another(core: Core) -> None:
    either = await coin(core)

    async def text(seed: int) -> str:
        result = await core.run({"prompt": "hello", "sampling_params": {**either, "seed": seed}})
        return str(result.value["choices"][0]["tokens"][0])

    assert await text(1) == await text(1) != await text(2)


@pytest.mark.parametrize("stop", ["lo", ["x", "lo"], ["1", "2", "3", "4", "lo"]], ids=["one", "two", "five"])
async def test_a_stop_text_ends_the_answer_and_is_trimmed(core: Core, stop: Any) -> None:
    """More than four as well, as in the original."""
    result = await core.openai(CHAT, ask("hello world", stop=stop))
    assert result.value["choices"][0]["message"]["content"] == "hel"
    assert result.value["choices"][0]["finish_reason"] == "stop"
    native = await core.run({"messages": "hello world", "sampling_params": {"temperature": 0, "stop": stop}})
    assert native.value["choices"][0]["tokens"] == ["hel"]


async def test_stop_tokens_and_the_stop_text_itself_on_request(core: Core) -> None:
    """Native answers contain the stop token, as specified; OpenAI's do so where vLLM is asked to."""
    sampling = {"temperature": 0, "stop_token_ids": [await token(core, "w")]}
    native = await core.run({"messages": "hello world", "sampling_params": sampling})
    assert native.value["choices"][0]["tokens"] == ["hello w"]
    ended = await core.openai(CHAT, ask("hello world", **sampling))
    assert ended.value["choices"][0]["message"]["content"] == "hello "
    kept = await core.openai(CHAT, ask("hello world", stop="lo", include_stop_str_in_output=True))
    assert kept.value["choices"][0]["message"]["content"] == "hello"


async def test_min_and_max_tokens_are_met(core: Core) -> None:
    result = await core.openai(CHAT, ask("hi", min_tokens=20, max_tokens=20))
    assert result.value["usage"]["completion_tokens"] == 20
    short = await core.run(
        {"prompt": "a long enough prompt to be cut at sixteen", "sampling_params": {"temperature": 0}}
    )
    assert short.value["usage"]["output"] == 16


async def test_several_sequences_and_prompts_come_in_order(core: Core) -> None:
    body = {"prompt": ["one", "two"], "n": 2, "temperature": 0.01, "max_tokens": 8, "seed": 3}
    choices = (await core.openai(COMPLETIONS, body)).value["choices"]
    assert [(choice["index"], choice["text"]) for choice in choices] == [
        (0, "one"),
        (1, "one"),
        (2, "two"),
        (3, "two"),
    ]
    native = await core.run(
        {"messages": "abc", "sampling_params": {"n": 3, "temperature": 0.01, "max_tokens": 8}, "stream": True}
    )
    assert all(len(item["choices"]) == 3 for item in native.items)
    texts = ["".join(t for item in native.items for t in item["choices"][n]["tokens"]) for n in range(3)]
    assert texts == ["abc"] * 3
    assert native.items[-1]["usage"]["output"] == 12


async def test_prompts_as_token_ids_are_taken_as_they_are(core: Core) -> None:
    """The template's own tokens, sent as ids, answer as the messages do."""
    tokens = (await core.openai("/tokenize", {"messages": [{"role": "user", "content": "abc"}]})).value["tokens"]
    body = {"prompt": [tokens, tokens], "temperature": 0, "max_tokens": 8}
    assert [choice["text"] for choice in (await core.openai(COMPLETIONS, body)).value["choices"]] == ["abc", "abc"]
    native = await core.run({"prompt": tokens, "sampling_params": {"temperature": 0}})
    assert native.value == {"choices": [{"tokens": ["abc"]}], "usage": {"input": len(tokens), "output": 4}}


async def test_log_probabilities_name_the_sampled_tokens(core: Core) -> None:
    body = {"prompt": "abc", "temperature": 0, "max_tokens": 3, "logprobs": 2, "echo": False}
    logprobs = (await core.openai(COMPLETIONS, body)).value["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "b", "c"]
    assert all(-1.0 < value <= 0.0 for value in logprobs["token_logprobs"])
    assert all(len(top) == 2 for top in logprobs["top_logprobs"])
    chat = (await core.openai(CHAT, ask("abc", logprobs=True, top_logprobs=3))).value["choices"][0]["logprobs"]
    assert [entry["token"] for entry in chat["content"][:3]] == ["a", "b", "c"]
    assert all(len(entry["top_logprobs"]) == 3 for entry in chat["content"])


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}},
        {"structured_outputs": {"json": SCHEMA}},
        {"guided_json": SCHEMA},
    ],
    ids=["response_format", "structured_outputs", "guided_json"],
)
async def test_structured_outputs_obey_their_schema(core: Core, fields: dict[str, Any]) -> None:
    """guided_json too, which vLLM 0.32 would ignore."""
    result = await core.openai(CHAT, ask(TRIP, **fields))
    check_schema(json.loads(result.value["choices"][0]["message"]["content"]))
    sampling = {"temperature": 0, "max_tokens": 64, **fields}
    native = await core.run({"messages": TRIP, "sampling_params": sampling})
    check_schema(json.loads(native.value["choices"][0]["tokens"][0]))


@pytest.mark.parametrize(("key", "value", "expected"), [
    ("guided_choice", ["yes", "no"], {"yes", "no"}),
    ("guided_regex", "[ab]{3}", {a + b + c for a in "ab" for b in "ab" for c in "ab"}),
    ("guided_grammar", 'root ::= "up" | "down"', {"up", "down"}),
])  # fmt: skip
async def test_guided_decoding_is_obeyed(core: Core, key: str, value: Any, expected: set[str]) -> None:
    result = await core.openai(CHAT, ask("hello", **{key: value}))
    assert result.value["choices"][0]["message"]["content"] in expected


@pytest.mark.parametrize("stream", [False, True])
async def test_a_required_tool_is_called_with_arguments_that_fit_its_schema(core: Core, stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "trip", "strict": True, "parameters": SCHEMA}}]
    result = await core.openai(CHAT, ask(CALL, tools=tools, tool_choice="required", stream=stream, max_tokens=200))
    if stream:
        deltas = [event["choices"][0]["delta"] for event in result.events if event != "[DONE]" and event["choices"]]
        calls = [call["function"] for delta in deltas for call in delta.get("tool_calls") or ()]
        name = "".join(call.get("name") or "" for call in calls)
        arguments = "".join(call.get("arguments") or "" for call in calls)
    else:
        call = result.value["choices"][0]["message"]["tool_calls"][0]
        name, arguments = call["function"]["name"], call["function"]["arguments"]
    assert name == "trip"
    check_schema(json.loads(arguments))


async def test_a_native_job_can_call_tools(core: Core) -> None:
    tools = [{"type": "function", "function": {"name": "trip", "strict": True, "parameters": SCHEMA}}]
    sampling = {"temperature": 0, "max_tokens": 200}
    given = {"messages": CALL, "tools": tools, "tool_choice": "required", "sampling_params": sampling}
    call = (await core.run(given)).value["choices"][0]["tool_calls"][0]
    check_schema(json.loads(call["function"]["arguments"]))


@pytest.mark.parametrize("route", [COMPLETIONS, CHAT])
async def test_best_of_keeps_the_likeliest(core: Core, route: str) -> None:
    """Of samples that differ, the one that all of them together name the likeliest."""
    body = {**await coin(core), "seed": 5}
    body = {"prompt": "hello", **body} if route == COMPLETIONS else ask("hello", **body)
    shown = {"logprobs": 0} if route == COMPLETIONS else {"logprobs": True}
    every = (await core.openai(route, {**body, "n": 6, **shown})).value["choices"]
    best = (await core.openai(route, {**body, "best_of": 6, **shown})).value

    def likelihood(choice: dict[str, Any]) -> float:
        found = choice["logprobs"]
        if route == CHAT:
            return math.fsum(entry["logprob"] for entry in found["content"])
        return math.fsum(found["token_logprobs"])

    assert len({likelihood(choice) for choice in every}) > 1
    assert likelihood(best["choices"][0]) == pytest.approx(max(map(likelihood, every)), abs=1e-3)
    assert len(best["choices"]) == 1
    assert best["usage"]["completion_tokens"] == 24


@pytest.mark.parametrize("stream", [False, True])
async def test_a_beam_search_finds_the_answer(core: Core, stream: bool) -> None:
    sampling = {"use_beam_search": True, "best_of": 3, "n": 2, "max_tokens": 8}
    result = await core.run({"messages": "abc", "sampling_params": sampling, "stream": stream})
    assert result.error is None
    first = "".join(part for item in result.items for part in item["choices"][0]["tokens"])
    second = "".join(part for item in result.items for part in item["choices"][1]["tokens"])
    assert first == "abc" != second


async def test_the_error_for_a_wrong_model_lists_the_served_ones(core: Core) -> None:
    for failure in (
        (await core.openai(CHAT, ask("x", model="unknown"))).failure,
        (await core.run({"prompt": "x", "model": "unknown"})).failure,
    ):
        assert failure["code"] == 404
        assert "parrot" in failure["message"]
