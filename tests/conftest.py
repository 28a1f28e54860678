"""Fixtures that every test may ask for, and the time limits of tests that may have to start processes first."""

from __future__ import annotations

import pytest

from tests.support.fixtures import (
    echo_http,
    echo_stack,
    pooling_engine,
    pooling_http,
    pooling_stack,
    real_engine,
    real_http,
    real_stack,
)

__all__ = [
    "echo_http",
    "echo_stack",
    "pooling_engine",
    "pooling_http",
    "pooling_stack",
    "real_engine",
    "real_http",
    "real_stack",
]

# The first test to ask pays for the start.
STACK_LIMIT_S = 60
REAL_ENGINE_LIMIT_S = 420


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the real engine, and of whole stacks, get a longer limit, unless they have one of their own."""
    for item in items:
        if item.get_closest_marker("timeout"):
            continue
        if item.get_closest_marker("vllm"):
            item.add_marker(pytest.mark.timeout(REAL_ENGINE_LIMIT_S))
        elif {"echo_stack", "echo_http", "up", "scripted", "encoder"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(STACK_LIMIT_S))
