"""Fixtures of the tests of `worker-vllm local`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for every temporary file of a run; short, since sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="wl-") as directory:
        yield Path(directory)
