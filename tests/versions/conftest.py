"""The record of what each version of vLLM was proven to do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

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


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    """The results, written at the end."""
    yield RESULTS
    RESULTS.write()


@pytest.fixture
def figure(results: Results, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a measured value in the check's row."""
    return lambda text: results.figure(request.node, text)
