"""The record of what each version of vLLM was proven to do."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from tests.support.results import Results

RESULTS = Results("versions")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every check's outcome is recorded."""
    report = yield
    if item.get_closest_marker("versions"):
        RESULTS.outcome(item, report)
    return report


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a measured value in the check's row."""
    return lambda text: RESULTS.figure(request.node, text)
