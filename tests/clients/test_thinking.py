"""A thinking model on the real engine: the chat route hides the thought, a native job shows the whole text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.engines.real import real_engine_process
from tests.support.http import Http
from tests.support.stack import Stack, serve

pytestmark = [pytest.mark.vllm, pytest.mark.matrix]

REPLY = "Here is my thought process: hm Here is my response: ok"


@pytest.fixture(scope="module")
def thinking() -> Iterator[Stack]:
    """The parrot repeats a thought, and the parser of a thinking family finds it."""
    with real_engine_process({"REASONING_PARSER": "granite"}) as engine_url, serve(engine_url, "parrot") as up:
        yield up


async def test_a_native_job_shows_what_the_chat_route_takes_apart(thinking: Stack) -> None:
    """Thought and answer apart for OpenAI clients; for a native job the text as it is, also when it is cut."""
    messages: list[Any] = [{"role": "user", "content": REPLY}]
    async with openai.AsyncOpenAI(base_url=thinking.openai_url, api_key="none") as client:
        chat = await client.chat.completions.create(model="parrot", messages=messages, temperature=0)
    params = {"temperature": 0, "max_tokens": 100}
    async with Http(thinking.url) as http:
        whole = await http.post("/runsync", {"input": {"messages": messages, "sampling_params": params}})
        cut = await http.post(
            "/runsync", {"input": {"messages": messages, "sampling_params": {**params, "max_tokens": 9}}}
        )
    message = chat.choices[0].message
    assert (message.content, (message.model_extra or {})["reasoning"]) == (" ok", " hm ")
    assert whole.json["output"][0]["choices"] == [{"tokens": [REPLY]}]
    assert cut.json["output"][0]["choices"] == [{"tokens": [REPLY[:9]]}]
