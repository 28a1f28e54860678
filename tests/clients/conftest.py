"""Every way to an engine under one name: a client test runs over the echo engine, and over the real one.

A module whose FRONTS name http mode too runs through a worker in http mode as well as through gateway and worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.support.stack import Stack

QUEUE = ("stack",)
EVERY_FRONT = ("stack", "http")
ENGINES = {"up": ("echo", "real"), "scripted": ("echo",), "encoder": ("echo", "pooling")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with each engine of its fixture behind each front of its module."""
    for name, engines in ENGINES.items():
        if name not in metafunc.fixturenames:
            continue
        fronts = getattr(metafunc.module, "FRONTS", QUEUE)
        stacks = [
            pytest.param(
                f"{engine}_{front}",
                id=engine if front == "stack" else f"{engine}-{front}",
                marks=() if engine == "echo" else pytest.mark.vllm,
            )
            for front in fronts
            for engine in engines
        ]
        metafunc.parametrize(name, stacks, indirect=True)


def chosen(request: pytest.FixtureRequest) -> Stack:
    """The session's stack that the parameter names."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def up(request: pytest.FixtureRequest) -> Stack:
    """The stack under test."""
    return chosen(request)


@pytest.fixture
def scripted(request: pytest.FixtureRequest) -> Stack:
    """A stack over the echo engine, which does as a script says."""
    return chosen(request)


@pytest.fixture
def encoder(request: pytest.FixtureRequest) -> Stack:
    """A stack that embeds."""
    return chosen(request)


@pytest.fixture
def client(up: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=up.openai_url, api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture
async def aclient(up: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=up.openai_url, api_key="none", max_retries=0) as found:
        yield found
