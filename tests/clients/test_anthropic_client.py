"""The official `anthropic` client against each front and engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.clients.conftest import EVERY_FRONT
from tests.support.stack import Stack

FRONTS = EVERY_FRONT
GREEDY = {"temperature": 0}  # the client has no such argument any more
HELLO: list[Any] = [{"role": "user", "content": "Hello, parrot!"}]


@pytest.fixture
def client(up: Stack) -> Iterator[anthropic.Anthropic]:
    base = up.openai_url.removesuffix("/v1")  # the client adds /v1/messages
    with anthropic.Anthropic(base_url=base, api_key="none", max_retries=0) as found:
        yield found


def test_messages(client: anthropic.Anthropic, up: Stack) -> None:
    """The text comes back as one block, with true counts."""
    answer = client.messages.create(model=up.model, max_tokens=50, messages=HELLO, extra_body=GREEDY)
    assert [block.text for block in answer.content if block.type == "text"] == ["Hello, parrot!"]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 15)


def test_messages_stream(client: anthropic.Anthropic, up: Stack) -> None:
    """Every named event arrives whole and in order: the client's own accumulation gives the message."""
    with client.messages.stream(model=up.model, max_tokens=50, messages=HELLO, extra_body=GREEDY) as stream:
        kinds = [event.type for event in stream if event.type != "text"]
        answer = stream.get_final_message()
    assert [block.text for block in answer.content if block.type == "text"] == ["Hello, parrot!"]
    assert list(dict.fromkeys(kinds)) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_token_counting(client: anthropic.Anthropic, up: Stack) -> None:
    """The count is the prompt's that a message would have."""
    counted = client.messages.count_tokens(model=up.model, messages=HELLO)
    answer = client.messages.create(model=up.model, max_tokens=1, messages=HELLO)
    assert counted.input_tokens == answer.usage.input_tokens


async def test_async(up: Stack) -> None:
    """The asynchronous client, whole and streamed."""
    base = up.openai_url.removesuffix("/v1")
    request: dict[str, Any] = {"model": up.model, "max_tokens": 50, "messages": HELLO, "extra_body": GREEDY}
    async with anthropic.AsyncAnthropic(base_url=base, api_key="none", max_retries=0) as client:
        whole = await client.messages.create(**request)
        async with client.messages.stream(**request) as stream:
            streamed = "".join([text async for text in stream.text_stream])
    assert whole.content[0].text == streamed == "Hello, parrot!"


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    """The status decides the client's exception."""
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="no-such-model", max_tokens=5, messages=HELLO)


def test_a_wrong_body_is_a_bad_request(client: anthropic.Anthropic, up: Stack) -> None:
    """So it is for the engine's own refusals."""
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model=up.model, max_tokens=5, messages=[])
