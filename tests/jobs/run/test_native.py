"""Native jobs on the echo engine: the original's items byte for byte, through the whole core."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.core import core_on
from tests.support.engines.echo import echo_engine

GOLDEN: list[tuple[str, int, int, dict[str, Any], list[str]]] = [
    ("15 tokens by default", 15, 1, {}, ["a", "bcd", "efghijklm", "no"]),
    ("13 tokens: no trailer", 13, 1, {}, ["a", "bcd", "efghijklm"]),
    ("two sequences, one counter", 5, 2, {}, ["a,", "b,ab", "cde,cde"]),
    (
        "2, 3.0, 4",
        12,
        1,
        {"max_batch_size": 4, "min_batch_size": 2, "batch_size_growth_factor": 1.5},
        ["ab", "cde", "fghi", "jkl"],
    ),
    ("at most 4", 12, 1, {"max_batch_size": 4}, ["a", "bcd", "efgh", "ijkl"]),
    ("one by one", 3, 1, {"max_batch_size": 1}, ["a", "b", "c"]),
]


@pytest.mark.parametrize(("n", "sequences", "fields", "items"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN])
async def test_a_stream_is_the_originals_byte_for_byte(
    n: int, sequences: int, fields: dict[str, Any], items: list[str]
) -> None:
    """One token is one character here; an item is written `tokens of 0,tokens of 1`."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"text": "abcdefghijklmnopqrstuvwxyz"[:n]})
        sampling = {"max_tokens": n, "ignore_eos": True, "n": sequences}
        result = await core.run({"prompt": "12345", "stream": True, "sampling_params": sampling, **fields})
    expected, count = [], 0
    for item in items:
        parts = item.split(",")
        count += sum(map(len, parts))
        entries = ",".join(f'{{"tokens":{json.dumps(list(part), separators=(",", ":"))}}}' for part in parts)
        expected.append(f'{{"choices":[{entries}],"usage":{{"input":5,"output":{count}}}}}'.encode())
    assert result.error is None
    assert [output.data for output in result.outputs] == expected


async def test_tokens_that_came_merged_count_in_full() -> None:
    """The engine sends four tokens an event: 4 (over 1), 4 (over 3), 8 + 4 (over 9)."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"text": "abcdefghijklmnopqrst", "merge": 4})
        result = await core.run({"prompt": "x", "stream": True, "sampling_params": {"max_tokens": 20}})
    assert [item["usage"]["output"] for item in result.items] == [4, 8, 20]
    assert ["".join(item["choices"][0]["tokens"]) for item in result.items] == ["abcd", "efgh", "ijklmnopqrst"]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"prompt": "Hé 🦜"}, "Hé 🦜"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "Hé 🦜"}]}, "Hé 🦜"),
        ({"prompt": "Hé 🦜", "apply_chat_template": True}, "Hé 🦜"),
        ({"prompt": [{"role": "user", "content": "Hé 🦜"}]}, "Hé 🦜"),
        ({"prompt": None, "messages": [{"role": "user", "content": "Hé 🦜"}]}, "Hé 🦜"),
        ({"messages": "Hé 🦜"}, "Hé 🦜"),
        ({"prompt": [72, 233]}, "Hé"),
    ],
    ids=["prompt", "messages win", "template", "list as prompt", "null prompt", "text as messages", "token ids"],
)
async def test_every_way_to_ask_is_answered(given: dict[str, Any], asked: str) -> None:
    """Without a stream: one item with the complete text and true counts, delivered only with the final result."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        result = await core.run({**given, "sampling_params": {"max_tokens": 50}})
    assert result.value["choices"] == [{"tokens": [asked]}]
    assert result.value["usage"]["output"] == len(asked) + 1  # the end token counts, as in vLLM
    assert [output.streamed for output in result.outputs] == [False]


async def test_the_engine_gets_the_specified_defaults_and_nothing_else() -> None:
    """An unset value would come from the model's generation_config."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await core.run({"prompt": "hi"})
        [request] = await engine.requests()
    assert request["path"] == "/v1/completions"
    assert json.loads(request["body"]) == {
        "prompt": "hi",
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": 16,
    }


async def test_the_models_own_defaults_are_an_option() -> None:
    async with (
        echo_engine() as engine,
        core_on(engine.url, native_model_defaults=True, default_max_tokens=100) as core,
    ):
        await core.run({"prompt": "hi", "sampling_params": {"top_k": 3}})
        [request] = await engine.requests()
    assert json.loads(request["body"]) == {"prompt": "hi", "max_tokens": 100, "top_k": 3}


async def test_requested_extra_fields_are_beside_the_tokens() -> None:
    async with echo_engine() as engine, core_on(engine.url) as core:
        result = await core.run({"prompt": "hi", "stream": True, "include": ["finish_reason"]})
    assert result.items == [
        {"choices": [{"tokens": ["h"]}], "usage": {"input": 2, "output": 1}},
        {"choices": [{"tokens": ["i", ""], "finish_reason": "stop"}], "usage": {"input": 2, "output": 3}},
    ]


async def test_media_and_tools_go_through_the_chat_route_in_the_same_shape() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [image, {"type": "text", "text": "hi"}]}]
    for stream in (False, True):
        async with echo_engine() as engine, core_on(engine.url) as core:
            result = await core.run({"messages": messages, "stream": stream})
            [request] = await engine.requests()
        assert result.error is None
        assert request["path"] == "/v1/chat/completions"
        assert "".join(token for item in result.items for token in item["choices"][0]["tokens"]) == "hi"
        assert result.items[-1]["usage"]["output"] == 3


async def test_the_best_of_several_is_kept_and_counted() -> None:
    """Ranked by cumulative log-probability: sequence 2 first, then 0; the usage counts those two."""
    async with echo_engine() as engine, core_on(engine.url) as core:
        await engine.script({"texts": ["aaa", "bbbb", "c"], "logprob": [-0.2, -0.9, -0.1]}, times=2)
        asked = {"prompt": "x", "sampling_params": {"best_of": 3, "n": 2, "max_tokens": 8}}
        whole = await core.run(asked)
        streamed = await core.run({**asked, "stream": True})
    assert whole.value == {"choices": [{"tokens": ["c"]}, {"tokens": ["aaa"]}], "usage": {"input": 1, "output": 6}}
    assert streamed.error is None
    texts = ["".join(token for item in streamed.items for token in item["choices"][n]["tokens"]) for n in (0, 1)]
    assert texts == ["c", "aaa"]
    assert streamed.items[-1]["usage"] == {"input": 1, "output": 6}
