"""The images, a gateway for the containers to attach to, and the record of what was checked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import pytest

from tests.containers import podman
from tests.containers.images import Image, cpu_image, gpu_image
from tests.support.attached import gateway_process
from tests.support.results import Results

RESULTS = Results("containers")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every check's outcome is recorded."""
    report = yield
    if item.get_closest_marker("containers"):
        RESULTS.outcome(item, report)
    return report


@pytest.fixture(scope="session")
def works() -> None:
    """podman and buildah, or a skip that says what is missing."""
    if reason := podman.missing():
        pytest.skip(reason)
    RESULTS.facts = {"tools": [podman.output("podman", "--version"), podman.output("buildah", "--version")]}


@pytest.fixture(scope="session")
def gpu(works: None) -> Image:
    """The image for GPUs, on the stand-in base, with a model inside."""
    return gpu_image()


@pytest.fixture(scope="session")
def cpu(works: None) -> Image:
    """The image for machines without a GPU."""
    return cpu_image()


@pytest.fixture
def gateway() -> Iterator[str]:
    """The endpoint of a gateway on this machine's loopback, http://127.0.0.1:port/v2/local."""
    with gateway_process() as endpoint:
        yield endpoint


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a measured value in the check's row."""
    return lambda text: RESULTS.figure(request.node, text)
