"""Session fixtures: echo stack, real engine, encoder, and stacks over them, each started at most once, when needed.

Processes are held by threads, not by an event loop, so every test may use them from its own loop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.engines.real import SETTINGS, real_engine_process
from tests.support.http_mode import serve_http
from tests.support.stack import Stack, serve, serve_echo

REAL_HTTP = {**SETTINGS, "ENGINE": "vllm", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def echo_stack() -> Iterator[Stack]:
    """Gateway and a worker over the echo engine."""
    with serve_echo() as up:
        yield up


@pytest.fixture(scope="session")
def real_engine() -> Iterator[str]:
    """The address of vLLM serving the embedded model as `parrot`: `unix:/path`.

    TEST_ENGINE_URL names one that is running already, which saves its start and is left alone.
    """
    running = os.environ.get("TEST_ENGINE_URL")
    if running:
        yield running
        return
    with real_engine_process() as url:
        yield url


@pytest.fixture(scope="session")
def pooling_engine() -> Iterator[str]:
    """The address of vLLM serving the embedded model as an encoder: embeddings, similarity scores and ranks."""
    with real_engine_process({"RUNNER": "pooling", "CONVERT": "embed"}) as url:
        yield url


@pytest.fixture(scope="session")
def pooling_stack(pooling_engine: str) -> Iterator[Stack]:
    """Gateway and a worker over the encoder."""
    with serve(pooling_engine, "parrot") as up:
        yield up


@pytest.fixture(scope="session")
def real_stack(real_engine: str) -> Iterator[Stack]:
    """Gateway and a worker over the real engine."""
    with serve(real_engine, "parrot") as up:
        yield up


@pytest.fixture(scope="session")
def echo_http() -> Iterator[Stack]:
    """A worker in http mode over the echo engine."""
    with serve_http({}, "echo") as up:
        yield up


@pytest.fixture(scope="session")
def real_http() -> Iterator[Stack]:
    """A worker in http mode over a real engine of its own: vLLM's server, with the guard inside."""
    with serve_http(REAL_HTTP) as up:
        yield up


@pytest.fixture(scope="session")
def pooling_http() -> Iterator[Stack]:
    """A worker in http mode over an encoder of its own."""
    with serve_http({**REAL_HTTP, "RUNNER": "pooling", "CONVERT": "embed"}) as up:
        yield up
