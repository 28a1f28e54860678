"""A process that was frozen: its timers fire before its sockets are read, so they are not believed at once.

The event loop is blocked instead of the process stopped, which looks the same from inside; uvloop is what workers run
on, and it runs timers before it reads. Whole processes: tests/chaos/test_thaw.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from support.raw_platform import MUTE, RawPlatform, answer, raw_platform

from worker_vllm.serverless.exchange import Answer, NoAnswer
from worker_vllm.serverless.platform import HttpPlatform

BODY = b"x" * 3_000_000  # more than one read brings
Freeze = Callable[[RawPlatform, "asyncio.Event"], Awaitable[None]]


async def freeze_once(raw: RawPlatform, release: asyncio.Event) -> None:
    """The answer comes just before the freeze, which outlasts the time limit."""
    release.set()
    await asyncio.sleep(0.05)
    time.sleep(0.6)


async def freeze_again(raw: RawPlatform, release: asyncio.Event) -> None:
    """Frozen once more just after the thaw."""
    asyncio.get_running_loop().call_soon(time.sleep, 1.2)
    await freeze_once(raw, release)
    time.sleep(0.7)


@pytest.mark.parametrize("freeze", [freeze_once, freeze_again])
def test_an_answer_that_lies_in_the_socket_is_read(freeze: Freeze) -> None:
    """Its time limit passed while nobody could read."""

    async def scenario() -> Answer:
        async with raw_platform() as raw:
            http, release = HttpPlatform("key"), asyncio.Event()
            raw.script("job-take", [release, answer(200, BODY)[:200], 0.04, answer(200, BODY)[200:]])
            asking = asyncio.create_task(http.get(f"{raw.url}/job-take/w1", 0.3))
            await raw.until(lambda: bool(raw.requests))
            await freeze(raw, release)
            try:
                return await asking
            finally:
                http.close()

    assert uvloop.run(scenario()).body == BODY


def test_silence_is_still_silence() -> None:
    """Believed after a second look of at most a second; a platform that dribbles for ever is cut off as well."""

    async def scenario(*script: object) -> float:
        async with raw_platform() as raw:
            http = HttpPlatform("key")
            raw.always["job-take"] = list(script)  # type: ignore[arg-type]
            began = time.monotonic()
            with pytest.raises(NoAnswer, match=r"no answer within 0\.2 s"):
                await http.get(f"{raw.url}/job-take/w1", 0.2)
            http.close()
            return time.monotonic() - began

    assert 0.3 < uvloop.run(scenario(MUTE)) < 5
    dribble = [part for _ in range(60) for part in (b"HTTP/1.1 200 OK\r\n" if not _ else b"X: y\r\n", 0.1)]
    assert 0.3 < uvloop.run(scenario(*dribble, MUTE)) < 5
