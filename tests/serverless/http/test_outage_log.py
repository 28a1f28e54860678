"""The log lines of a platform that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.serverless.memory_platform import SETTINGS
from tests.support.platforms.raw_platform import CLOSE, Script, answer, raw_platform
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.http.outage_log import OutageLog
from worker_vllm.serverless.intake.heartbeat import send_pings
from worker_vllm.serverless.protocol import Addresses


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    with caplog.at_level(logging.INFO, "worker_vllm.serverless.http.outage_log"):
        yield caplog.messages


def test_an_outage_is_logged_once_and_summed_up(lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """10,000 attempts of 240 jobs in three minutes: how it began, how it goes on each minute, how it ended."""
    clock = Clock()
    outages = OutageLog(clock)
    for attempt in range(10_000):
        clock.now = attempt * 0.018
        outages.failed("job-done", "HTTP 502" if attempt > 5000 else "no connection to h: Connection refused")
    clock.now += 3
    for _ in range(240):
        outages.succeeded("job-done")
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
    outages = OutageLog(clock)
    for attempt in range(1000):
        clock.now = attempt * 0.05
        if attempt % 2:
            outages.succeeded("job-take")
        else:
            outages.failed("job-take", "HTTP 500")
    assert caplog.messages == ["job-take fails: HTTP 500"]


async def test_the_client_records_outcomes_by_kind(caplog: pytest.LogCaptureFixture) -> None:
    """A take that is refused with 400 or 429 is no outage, nor is a stream of a job that the platform has deleted."""
    http = HttpPlatform("key")
    async with raw_platform() as raw:
        raw.always = {"job-done": [answer(500)], "job-stream": [answer(404)], "job-take": [answer(429)]}
        for _ in range(5):
            await http.post(f"{raw.url}/job-done/w1/a", (b"{}",), 5)
            await http.post(f"{raw.url}/job-stream/w1/a", (b"{}",), 5)
            await http.get(f"{raw.url}/job-take/w1", 5)
        http.close()
    assert [line for line in caplog.messages if "fails" in line] == ["job-done fails: HTTP 500"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [([answer(500)], "HTTP 500"), ([CLOSE], "the connection was closed before a complete answer came")],
)
async def test_failed_pings_are_logged_as_one_outage(
    caplog: pytest.LogCaptureFixture, script: Script, reason: str
) -> None:
    """Two failed pings are one line: the heartbeat itself logs nothing."""
    http = HttpPlatform("key")
    async with raw_platform() as raw:
        raw.always = {"ping": script}
        addresses = Addresses.of(replace(SETTINGS, ping_url=f"{raw.url}/ping/w1"))
        pinging = asyncio.create_task(send_pings(http, addresses, 1.0, lambda: ["a"]))
        await raw.until(lambda: len(raw.of("ping")) >= 3)
        pinging.cancel()
        await asyncio.wait([pinging])
        http.close()
    assert caplog.messages == [f"ping fails: {reason}"]
