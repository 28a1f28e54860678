"""The image for the manifests' runs, and the record of what was checked."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from tests.containers import podman
from tests.containers.images import Image, gpu_image
from tests.support.results import Results

RESULTS = Results("deploy")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every check's outcome is recorded."""
    report = yield
    RESULTS.outcome(item, report)
    return report


@pytest.fixture(scope="session")
def image() -> Image:
    """The image for GPUs on its stand-in base, or a skip that says what is missing."""
    if reason := podman.missing():
        pytest.skip(reason)
    return gpu_image()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a measured value in the check's row."""
    return lambda text: RESULTS.figure(request.node, text)
