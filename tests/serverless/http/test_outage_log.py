"""What the log says of a platform that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.raw_platform import answer, raw_platform
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.http.outage_log import Outages


class Clock:
    """Seconds, as told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    with caplog.at_level(logging.INFO, "worker_vllm.serverless.http.outage_log"):
        yield caplog.messages


def test_an_outage_is_told_once_and_summed_up(lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """10,000 attempts of 240 jobs in three minutes: how it began, how it goes on each minute, how it ended."""
    clock = Clock()
    outages = Outages(clock)
    for attempt in range(10_000):
        clock.now = attempt * 0.018
        outages.failed("job-done", "HTTP 502" if attempt > 5000 else "no connection to h: Connection refused")
    clock.now += 3
    for _ in range(240):
        outages.worked("job-done")
    assert caplog.messages == [
        "job-done fails: no connection to h: Connection refused",
        "job-done still fails after 60 s: 3335 attempts, the last: no connection to h: Connection refused",
        "job-done fails: HTTP 502",
        "job-done still fails after 150 s: 8336 attempts, the last: HTTP 502",
        "job-done works again after 183.0 s: 10000 attempts had failed, the last: HTTP 502",
    ]


def test_one_success_among_failures_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A platform that fails every other time is one outage."""
    clock = Clock()
    outages = Outages(clock)
    for attempt in range(1000):
        clock.now = attempt * 0.05
        if attempt % 2:
            outages.worked("job-take")
        else:
            outages.failed("job-take", "HTTP 500")
    assert caplog.messages == ["job-take fails: HTTP 500"]


async def test_the_client_tells_by_kind(caplog: pytest.LogCaptureFixture) -> None:
    """A take that is refused with 400 or 429 is nothing, nor is a result that the platform forgot."""
    http = HttpPlatform("key")
    async with raw_platform() as raw:
        raw.always = {"job-done": [answer(500)], "job-stream": [answer(404)], "job-take": [answer(429)]}
        for _ in range(5):
            await http.post(f"{raw.url}/job-done/w1/a", b"{}", 5)
            await http.post(f"{raw.url}/job-stream/w1/a", b"{}", 5)
            await http.get(f"{raw.url}/job-take/w1", 5)
        http.close()
    assert [line for line in caplog.messages if "fails" in line] == ["job-done fails: HTTP 500"]
