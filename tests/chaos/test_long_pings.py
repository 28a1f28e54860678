"""A worker with as many jobs as its default allows, and a platform that refuses request lines over 8 KB."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.attached import worker_environment, worker_process
from tests.support.platforms.scripted_platform import ScriptedPlatform, scripted_platform

ECHO = {"ENGINE": "echo", "MODEL_NAME": "echo", "MAX_NUM_SEQS": "300", "DRAIN_TIMEOUT": "0"}
IDS = [f"8a1c3f5e-0000-4000-8000-{n:012d}-u1" for n in range(300)]


def named(platform: ScriptedPlatform) -> set[str]:
    """The ids in every ping that was accepted."""
    queries = [parse_qs(urlsplit(target).query) for target, status in list(platform.pings) if status == 200]
    return {job_id for query in queries for job_id in query.get("job_id", [""])[0].split(",")}


@pytest.mark.timeout(60)
def test_every_job_of_three_hundred_is_named() -> None:
    """Each id arrives in a ping that was accepted; the long line is tried once."""
    jobs = [{"id": job_id, "input": {"prompt": '[[echo {"hang_after": 0}]]'}} for job_id in IDS]
    with scripted_platform() as platform:
        platform.behaviour.longest_line = 8_000
        platform.hand_out(json.dumps(jobs).encode())
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO}) as worker:
            assert platform.until(lambda: set(IDS) <= named(platform), 20), worker.output()[-2000:]
            seen = len(platform.pings)
            platform.until(lambda: len(platform.pings) >= seen + 4)
        assert [status for _, status in platform.pings].count(414) == 1
