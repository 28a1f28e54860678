"""GPU tests need an NVIDIA GPU with 24 GiB or more; elsewhere each says that it was not run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator

import pytest

from tests.support.results import Results
from worker_vllm.engine.preflight.nvidia import driver
from worker_vllm.engine.preflight.vllm_version import engine_version

RESULTS = Results("gpu")
OLDEST_ENGINE = (0, 26)  # the newest whose build for CUDA pairs with torch 2.11
NOT_RUN = "not run: there is no NVIDIA GPU here"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, and skip it where there is no GPU, or an engine that is too old."""
    reason = not_run()
    for item in items:
        if "/tests/gpu/" not in str(item.path):
            continue
        item.add_marker(pytest.mark.gpu)
        item.add_marker(pytest.mark.timeout(900))
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def not_run() -> str | None:
    """Why the tests cannot be run here; None where they can."""
    nvidia = driver()
    if nvidia is None or not nvidia.gpus:
        return NOT_RUN
    version = engine_version(sys.path)
    if version is None or tuple(map(int, version.split(".")[:2])) < OLDEST_ENGINE:
        return f"not run: expected vLLM 0.26 or later, got {version}"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every outcome is recorded."""
    report = yield
    RESULTS.outcome(item, report)
    return report


@pytest.fixture(scope="session", autouse=True)
def facts() -> None:
    """The results name card, driver and versions."""
    nvidia = driver()
    if nvidia is None or not nvidia.gpus:
        return
    gpu = nvidia.gpus[0]
    card = f"{gpu.name}, {gpu.total_bytes / (1 << 30):.0f} GiB"
    cuda = ".".join(map(str, nvidia.cuda))
    RESULTS.facts = {"tools": [card, f"driver {nvidia.version} (CUDA {cuda})", f"vLLM {engine_version(sys.path)}"]}


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a measured value in the test's row."""
    return lambda text: RESULTS.figure(request.node, text)
