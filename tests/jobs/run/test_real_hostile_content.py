"""The content of a request stops no engine and delays no other client: the real engine, started by the worker."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from tests.jobs.run.hostile_content import hostile
from tests.support.engines.real import SETTINGS, START_TIMEOUT_S
from tests.support.http import Http
from tests.support.processes import running
from tests.support.stack import LOCAL, Stack

pytestmark = [pytest.mark.vllm, pytest.mark.matrix, pytest.mark.timeout(900)]

HOSTILE, ATTACKERS, HONEST, ROUNDS = 1000, 2, 20, 10
LONGER_S = 0.25
TEXT = "an honest client's words"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Gateway, worker, and the worker's own engine, which it would relaunch if it took it for dead."""
    with running(LOCAL, {**SETTINGS, "HF_HUB_OFFLINE": "1", "DRAIN_TIMEOUT": "2"}) as process:
        url = process.line("Ready: ", START_TIMEOUT_S).split("Ready: ")[1].strip()
        yield Stack(url, "", process, "parrot")


class Honest:
    """Twenty clients, each with one request after the other, half of them streams; the longest wait of all."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.longest_s = 0.0
        self.answers = 0

    async def beside(self, other: Coroutine[Any, Any, None]) -> float:
        """The longest wait while something else runs to its end."""
        self.longest_s = 0.0
        work = asyncio.create_task(other)
        async with asyncio.TaskGroup() as tasks:
            for number in range(HONEST):
                tasks.create_task(self._client(work, stream=number % 2 == 0))
        await work
        return self.longest_s

    async def _client(self, until: asyncio.Task[None], *, stream: bool) -> None:
        body = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 40, "temperature": 0, "stream": stream}
        while not until.done():
            began = time.perf_counter()
            async with self._http.open("POST", "/chat/completions", body) as answer:
                moments, text = [began], b""
                async for piece in answer.content.iter_any():
                    moments.append(time.perf_counter())
                    text += piece
            assert answer.status == 200, text
            assert (b"[DONE]" in text) if stream else (TEXT.encode() in text), text
            waits = [after - before for before, after in itertools.pairwise(moments)]
            self.longest_s = max(self.longest_s, *waits)
            self.answers += 1


class Attack:
    """The hostile requests, a few at a time; the statuses that they got."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._requests = hostile(HOSTILE)
        self.statuses: list[int] = []

    async def go_on(self) -> None:
        """The next round of them."""
        some = itertools.islice(self._requests, HOSTILE // ROUNDS)

        async def attacker() -> None:
            for route, body in some:
                self.statuses.append((await self._http.post(route, body)).status)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(ATTACKERS):
                tasks.create_task(attacker())


async def test_hostile_content_stops_no_engine_and_delays_no_client(stack: Stack) -> None:
    """A thousand requests beside twenty clients: no relaunch, and no client waits much longer than without them."""
    beside: list[float] = []
    without: list[float] = []
    async with Http(stack.openai_url) as http:
        honest, attack = Honest(http), Attack(http)
        await honest.beside(asyncio.sleep(3))
        for _ in range(ROUNDS):  # in turns, each as long as the other, so that both meet the same machine
            began = time.perf_counter()
            beside.append(await honest.beside(attack.go_on()))
            without.append(await honest.beside(asyncio.sleep(time.perf_counter() - began)))
    statuses = attack.statuses
    waits = f"the longest waits of each round: beside {beside}, without {without}"
    assert len(statuses) == HOSTILE
    assert set(statuses) <= {200, 400, 404, 413}, sorted(set(statuses))
    output = stack.process.output()
    assert "relaunching the engine" not in output, output
    assert max(beside) <= max(without) + LONGER_S, waits
