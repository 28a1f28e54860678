"""The gateway that the containers of these tests attach to."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.images.container import WORKER
from tests.support.processes import running


@pytest.fixture
def gateway() -> Iterator[str]:
    """The address of a gateway without workers."""
    with running([WORKER, "gateway", "--port", "0"]) as process:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.line("gateway on"))
        assert found is not None
        yield found[0]
