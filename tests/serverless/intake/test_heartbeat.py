"""The heartbeat lists every open job, also to a platform that refuses long request lines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serverless.memory_platform import SETTINGS
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, PlatformAnswer
from worker_vllm.serverless.intake.heartbeat import MAX_LINE_BYTES, send_pings
from worker_vllm.serverless.protocol import Addresses

ADDRESSES = Addresses.of(SETTINGS)
IDS = [f"8a1c3f5e-0000-4000-8000-{n:012d}-u1" for n in range(300)]
Answering = Callable[[str], PlatformAnswer]


class Pinged(Platform):
    """Answers pings by a rule and records their addresses; `over` is set after `most` pings."""

    def __init__(self, answer: Answering, most: int) -> None:
        self.urls: list[str] = []
        self.over = asyncio.Event()
        self._answer = answer
        self._most = most

    async def get(self, url: str, timeout_s: float) -> PlatformAnswer:
        self.urls.append(url)
        if len(self.urls) == self._most:
            self.over.set()
        return self._answer(url)

    async def post(self, url: str, body: Sequence[bytes], timeout_s: float) -> PlatformAnswer:
        raise AssertionError("a heartbeat posts nothing")

    def abandon(self, url: str) -> bool:
        raise AssertionError("a heartbeat is not left")

    @property
    def named(self) -> list[list[str]]:
        """The ids in each ping."""
        return [parse_qs(urlsplit(url).query).get("job_id", [""])[0].split(",") for url in self.urls]


def takes_all(url: str) -> PlatformAnswer:
    return PlatformAnswer(200)


def refuses_long_lines(url: str) -> PlatformAnswer:
    return PlatformAnswer(414 if len(url) > 8_000 else 200)


def closes_on_long_lines(url: str) -> PlatformAnswer:
    if len(url) > 8_000:
        raise NoAnswer("closed")
    return PlatformAnswer(200)


async def pinged(answer: Answering, ids: list[str], most: int) -> Pinged:
    """The platform after `most` pings."""
    platform = Pinged(answer, most)
    beating = asyncio.create_task(send_pings(platform, ADDRESSES, 1.0, lambda: ids))
    await platform.over.wait()
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
    return platform


@pytest.mark.parametrize("ids", [[], ["a"], IDS])
async def test_one_ping_lists_all_jobs_where_the_platform_accepts_it(ids: list[str]) -> None:
    """As the official worker does: a platform may treat a job that a ping does not list as lost."""
    platform = await pinged(takes_all, ids, 2)
    assert platform.named == [ids or [""]] * 2


@pytest.mark.parametrize("answer", [refuses_long_lines, closes_on_long_lines])
async def test_long_lists_are_sent_in_parts_to_a_platform_that_refuses_them(answer: Answering) -> None:
    """In the same interval, each line short enough, every id named once."""
    platform = await pinged(answer, IDS, 3)
    assert platform.named[0] == IDS
    assert [len(url) <= MAX_LINE_BYTES for url in platform.urls] == [False, True, True]
    assert platform.named[1] + platform.named[2] == IDS


async def test_a_refused_length_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """Two intervals: refused once, then in parts at once; one line in the log."""
    with caplog.at_level(logging.INFO, "worker_vllm.serverless.intake.heartbeat"):
        platform = await pinged(refuses_long_lines, IDS, 5)
    assert [len(ids) for ids in platform.named] == [300, *[len(ids) for ids in platform.named[1:3]] * 2]
    assert caplog.text.count("pings list their 300 jobs in parts") == 1


async def test_other_refusals_cost_no_further_pings() -> None:
    """A wrong key is refused once per interval, not once per part."""
    platform = await pinged(lambda url: PlatformAnswer(401), IDS, 2)
    assert platform.named == [IDS] * 2


@pytest.mark.parametrize("ids", [["é" * 3000], ["a" * 20_000, "b"], []])
def test_an_id_longer_than_a_line_goes_alone(ids: list[str]) -> None:
    """No id is left out."""
    urls = ADDRESSES.pings(ids, "1", MAX_LINE_BYTES)
    assert len(urls) == max(1, len(ids))
