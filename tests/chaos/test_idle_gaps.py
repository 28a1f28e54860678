"""Jobs with pauses between them: no kept connection may die under the job that comes after the pause."""

from __future__ import annotations

import time

import pytest

from tests.chaos.client_sync import Endpoint
from tests.support.stack import Stack

JOBS = 200
MAX_GAP_S = 6.0  # past the engine's and the platform's usual keep-alive of 5 s


@pytest.mark.matrix
@pytest.mark.vllm
@pytest.mark.timeout(1500)
def test_no_job_fails_after_a_pause(real_stack: Stack) -> None:
    """200 jobs on the real engine, each after a pause of 0 to 6 s; every length of pause comes once."""
    endpoint = Endpoint(real_stack.url)
    failed = []
    for number in range(JOBS):
        gap_s = MAX_GAP_S * (number * 7 % JOBS) / (JOBS - 1)
        time.sleep(gap_s)  # the pause is what is tested
        found = endpoint.end(endpoint.run(prompt=f"gap {number}", sampling_params={"max_tokens": 2}))
        if found["status"] != "COMPLETED":
            failed.append((gap_s, found))
    assert failed == []
