"""Adapters beside the base model, and a reasoning model, on the real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.core import Core, core_on
from tests.support.engines.real import real_engine_process
from tests.support.paths import PARROT

pytestmark = pytest.mark.vllm

CHAT = "/v1/chat/completions"
UPPER = PARROT.with_name("parrot-upper")
# what the granite reasoning parser takes for a thought and an answer; the parrot repeats it
THOUGHT = "Here is my thought process: two. Here is my response: three"


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """vLLM with the adapter that answers in upper case, and a reasoning parser."""
    adapters = json.dumps([{"name": "upper", "path": str(UPPER)}])
    settings = {
        "ENABLE_LORA": "1",
        "LORA_MODULES": adapters,
        "REASONING_PARSER": "granite",
        "ALLOW_LORA_UPDATES": "1",
    }
    with real_engine_process(settings) as url:
        yield url


@pytest.fixture
async def core(engine: str) -> AsyncIterator[Core]:
    async with core_on(engine) as core:
        yield core


async def answer(core: Core, model: str | None, native: bool, text: str = "hello world") -> str:
    """The model's answer to the text."""
    sampling = {"temperature": 0, "max_tokens": 16}
    if native:
        given = {"messages": text, "sampling_params": sampling, **({"model": model} if model else {})}
        return str((await core.run(given)).value["choices"][0]["tokens"][0])
    body: dict[str, Any] = {"messages": text, "model": model, **sampling}
    return str((await core.openai(CHAT, body)).value["choices"][0]["message"]["content"])


@pytest.mark.parametrize("native", [False, True], ids=["openai", "native"])
async def test_each_name_answers_with_its_own_weights(core: Core, native: bool) -> None:
    """Side by side in one batch: the base model repeats, the adapter repeats in upper case."""
    names = [None, "upper", "parrot", "upper"]
    answers = await asyncio.gather(*[answer(core, name, native) for name in names])
    assert answers == ["hello world", "HELLO WORLD", "hello world", "HELLO WORLD"]


async def test_adapters_are_listed_in_the_model_list_and_in_the_error_for_a_wrong_name(core: Core) -> None:
    models = (await core.openai("/v1/models")).value["data"]
    assert [(model["id"], model["parent"]) for model in models] == [("parrot", None), ("upper", "parrot")]
    assert [model["id"] for model in models if model["root"].startswith("/")] == []
    for failure in (
        (await core.openai(CHAT, {"messages": "x", "model": "lower"})).failure,
        (await core.run({"messages": "x", "model": "lower"})).failure,
    ):
        assert failure["code"] == 404
        assert failure["message"].endswith("Served here: parrot, upper.")


async def test_an_adapter_is_loaded_by_a_job_where_that_is_allowed(core: Core, engine: str) -> None:
    """Its name can be requested until it is unloaded; an endpoint without the setting refuses the job."""
    asked = {"lora_name": "later", "lora_path": str(UPPER)}
    assert (await core.openai("/v1/load_lora_adapter", asked)).failure["code"] == 404
    async with core_on(engine, allow_lora_updates=True) as open_core:
        assert "later" in (await open_core.openai("/v1/load_lora_adapter", asked)).value
        assert await answer(core, "later", native=True) == "HELLO WORLD"
        assert "later" in (await open_core.openai("/v1/unload_lora_adapter", {"lora_name": "later"})).value
    assert (await core.openai(CHAT, {"messages": "x", "model": "later"})).failure["code"] == 404


@pytest.mark.parametrize("stream", [False, True])
async def test_a_native_job_of_a_thinking_model_hides_nothing(core: Core, stream: bool) -> None:
    """The chat route separates the reasoning; the native text contains it."""
    sampling = {"temperature": 0, "max_tokens": 80}
    chat = (await core.openai(CHAT, {"messages": THOUGHT, **sampling})).value["choices"][0]["message"]
    assert (chat["reasoning"].strip(), chat["content"].strip()) == ("two.", "three")
    native = await core.run({"messages": THOUGHT, "sampling_params": sampling, "stream": stream})
    assert native.error is None
    assert "".join(part for item in native.items for part in item["choices"][0]["tokens"]) == THOUGHT
