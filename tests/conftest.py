"""Fixtures that every test may ask for, and the time limit of tests that need the real engine."""

from __future__ import annotations

import pytest
from support.fixtures import echo_stack, real_engine, real_stack

__all__ = ["echo_stack", "real_engine", "real_stack"]

REAL_ENGINE_LIMIT_S = 420  # the first such test pays for the engine's start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the real engine get a longer limit, unless they have one of their own."""
    for item in items:
        if item.get_closest_marker("vllm") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(REAL_ENGINE_LIMIT_S))
