"""A process that was frozen: its timers fire before its sockets are read, so they are not believed at once.

The event loop is blocked instead of the process stopped, which looks the same from inside; uvloop is what workers run
on, and it runs timers before it reads. Complete processes: tests/chaos/test_thaw.py.
"""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
import uvloop

from tests.support.platforms.raw_platform import MUTE, raw_platform
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.http.connection import NoAnswer, PlatformAnswer

BODY = b"x" * 100_000
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + BODY


@pytest.mark.parametrize("again_s", [0.0, 0.9], ids=["once", "again"])
def test_an_answer_that_lies_in_the_socket_is_read(again_s: float) -> None:
    """Its time limit of 0.3 s passed while the process could not read; perhaps frozen again just after the thaw."""

    async def scenario() -> PlatformAnswer:
        loop = asyncio.get_running_loop()
        http = HttpPlatform("key")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v2/ep/job-take/w1"
            asking = asyncio.create_task(http.get(url, 0.3))
            platform, _ = await loop.sock_accept(listener)

            def answer_and_freeze() -> None:  # while the loop reads its sockets: what follows next are its timers
                loop.remove_reader(platform)
                assert platform.recv(65536)
                loop.call_later(0.31, time.sleep, again_s)
                platform.sendall(RESPONSE)
                time.sleep(0.6)

            loop.add_reader(platform, answer_and_freeze)
            try:
                return await asking
            finally:
                http.close()
                platform.close()

    assert uvloop.run(scenario()).body == BODY


def test_a_missing_answer_still_times_out() -> None:
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
