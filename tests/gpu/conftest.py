"""GPU tests need an NVIDIA GPU with 24 GiB or more; elsewhere each says that it was not run."""

from __future__ import annotations

import pytest

from worker_vllm.engine.preflight.nvidia import driver


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, and skip it where there is no GPU."""
    nvidia = driver()
    gpus = nvidia.gpus if nvidia else ()
    for item in items:
        if "/tests/gpu/" not in str(item.path):
            continue
        item.add_marker(pytest.mark.gpu)
        item.add_marker(pytest.mark.timeout(900))
        if not gpus:
            item.add_marker(pytest.mark.skip(reason="not run: there is no NVIDIA GPU here"))
