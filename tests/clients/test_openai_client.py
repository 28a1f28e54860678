"""The official `openai` client against each front and engine: whole and streamed, sync and async."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.clients.conftest import EVERY_FRONT
from tests.support.stack import Stack

FRONTS = EVERY_FRONT
TEXTS = ["Hello, parrot!", "héé €100 🦜🦜", '{"a": [1, 2]}', "def f(x):\n    return x"]


def say(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("text", TEXTS)
def test_chat(client: openai.OpenAI, up: Stack, text: str) -> None:
    """The user's own message comes back, with true counts."""
    answer = client.chat.completions.create(model=up.model, messages=say(text), temperature=0)
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", text, "stop")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(tokens(up, text)) + 1  # and the end token


def tokens(up: Stack, text: str) -> Any:
    """The echo engine counts characters, the parrot bytes."""
    return text if up.model == "echo" else text.encode()


@pytest.mark.parametrize("text", TEXTS)
def test_chat_stream(client: openai.OpenAI, up: Stack, text: str) -> None:
    """The deltas join to the message; the role comes first, the reason last, usage after all of it."""
    with client.chat.completions.create(
        model=up.model, messages=say(text), temperature=0, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    *deltas, final = chunks
    assert deltas[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in deltas) == text
    assert [chunk.choices[0].finish_reason for chunk in deltas if chunk.choices[0].finish_reason] == ["stop"]
    assert final.choices == []
    assert final.usage is not None
    assert final.usage.completion_tokens == len(tokens(up, text)) + 1


async def test_chat_async(aclient: openai.AsyncOpenAI, up: Stack) -> None:
    """The asynchronous client gets the same, whole and streamed."""
    text = TEXTS[1]
    whole = await aclient.chat.completions.create(model=up.model, messages=say(text), temperature=0)
    stream = await aclient.chat.completions.create(model=up.model, messages=say(text), temperature=0, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert whole.choices[0].message.content == "".join(pieces) == text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_completions(client: openai.OpenAI, up: Stack, stream: bool) -> None:
    """A plain prompt is completed, cut at exactly max_tokens."""
    request: dict[str, Any] = {"model": up.model, "prompt": "abcdefgh", "max_tokens": 5, "temperature": 0}
    answer: Any = client.completions.create(**request, stream=stream)
    if stream:
        chunks = list(answer)
        text = "".join(chunk.choices[0].text for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        text, reason = answer.choices[0].text, answer.choices[0].finish_reason
        assert answer.usage.completion_tokens == 5
    assert (text, reason) == ("abcde", "length")


async def test_completions_async(aclient: openai.AsyncOpenAI, up: Stack) -> None:
    """The asynchronous client gets the same, whole and streamed."""
    request: dict[str, Any] = {"model": up.model, "prompt": "abcdefgh", "max_tokens": 8, "temperature": 0}
    whole = await aclient.completions.create(**request)
    pieces = [chunk.choices[0].text async for chunk in await aclient.completions.create(**request, stream=True)]
    assert whole.choices[0].text == "".join(pieces) == "abcdefgh"


def test_responses(client: openai.OpenAI, up: Stack) -> None:
    """The Responses API, whole."""
    answer = client.responses.create(model=up.model, input="Hello, parrot!", temperature=0)
    assert (answer.status, answer.output_text) == ("completed", "Hello, parrot!")


def test_responses_stream(client: openai.OpenAI, up: Stack) -> None:
    """The Responses API's named events arrive in order and join to the text."""
    with client.responses.create(model=up.model, input="Hello, parrot!", temperature=0, stream=True) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "Hello, parrot!"
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_responses_async(aclient: openai.AsyncOpenAI, up: Stack) -> None:
    """The asynchronous client gets the same, whole and streamed."""
    whole = await aclient.responses.create(model=up.model, input="tweet", temperature=0)
    stream = await aclient.responses.create(model=up.model, input="tweet", temperature=0, stream=True)
    deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert whole.output_text == "".join(deltas) == "tweet"


def test_models(client: openai.OpenAI, up: Stack) -> None:
    """The served name, and no file path."""
    assert [model.id for model in client.models.list()] == [up.model]


async def test_models_async(aclient: openai.AsyncOpenAI, up: Stack) -> None:
    """The same list."""
    assert [model.id async for model in aclient.models.list()] == [up.model]


def test_embeddings(encoder: Stack) -> None:
    """Vectors in both encodings are the same numbers (the client asks for base64 by itself)."""
    with openai.OpenAI(base_url=encoder.openai_url, api_key="none") as client:
        packed = client.embeddings.create(model=encoder.model, input=["a", "b"])
        plain = client.embeddings.create(model=encoder.model, input=["a", "b"], encoding_format="float")
    for row, same in zip(packed.data, plain.data, strict=True):
        assert row.embedding == pytest.approx(same.embedding, abs=1e-3)
    assert packed.data[0].embedding != pytest.approx(packed.data[1].embedding, abs=1e-3)


async def test_embeddings_async(encoder: Stack) -> None:
    """The asynchronous client gets the same."""
    async with openai.AsyncOpenAI(base_url=encoder.openai_url, api_key="none") as client:
        answer = await client.embeddings.create(model=encoder.model, input="a")
    assert sum(value**2 for value in answer.data[0].embedding) == pytest.approx(1, abs=1e-3)
