"""Both stacks under one name: a client test runs over the echo engine, and over the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.support.stack import Stack


@pytest.fixture(params=["echo", pytest.param("real", marks=pytest.mark.vllm)])
def up(request: pytest.FixtureRequest) -> Stack:
    """The stack under test."""
    found: Stack = request.getfixturevalue(f"{request.param}_stack")
    return found


@pytest.fixture
def client(up: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=up.openai_url, api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture
async def aclient(up: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=up.openai_url, api_key="none", max_retries=0) as found:
        yield found
