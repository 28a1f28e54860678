"""A bad day, seeded: slow, refused, dropped and cut requests, cancels, signals, and killed workers and engines.

From the client's view every job ends exactly once: with its own right answer, a clear error, or CANCELLED where it
was cancelled. None is lost, none doubled, none swapped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.chaos.client import Client
from tests.chaos.fleet import Fleet, fleet
from tests.chaos.plan import Ask, ClientOutcome, fault_in, plan
from tests.support.attached import gateway_process
from tests.support.platforms.fault_proxy import Cut, faulty

CLIENTS = 48
FAULTS = {
    "seed": 7,
    "rules": [
        {"route": "job-stream", "probability": 0.2, "latency_s": 0.03},
        {"route": "job-stream", "probability": 0.03, "status": 429},
        {"route": "job-stream", "probability": 0.03, "status": 503},
        # 502, like a response that is cut, leaves open whether the piece was accepted: each of them fails its stream.
        {"route": "job-stream", "probability": 0.01, "status": 502},
        {"route": "job-done", "probability": 0.1, "latency_s": 0.05},
        {"route": "job-done", "probability": 0.05, "status": 500},
        {"route": "job-done", "probability": 0.03, "status": 429},
        {"route": "job-take", "probability": 0.05, "status": 502},
        {"route": "job-take-batch", "probability": 0.05, "status": 500},
        {"route": "job-take-batch", "probability": 0.02, "status": 429, "times": 3},
        {"route": "ping", "probability": 0.1, "status": 500},
    ],
}
CUTS = (
    Cut("job-stream", probability=0.01),
    Cut("job-stream", probability=0.01, before=True),
    Cut("job-done", probability=0.05),
    Cut("job-take-batch", probability=0.05, held_s=0.02),
    Cut("job-stop", probability=0.1, held_s=0.2),
)


@dataclass(frozen=True, slots=True)
class Day:
    """So many jobs; SIGTERMs and kills happen evenly spread over them."""

    jobs: int
    seed: int
    terminations: int
    worker_kills: int
    engine_kills: int

    def events(self, workers: Fleet) -> dict[int, Callable[[], Coroutine[Any, Any, None]]]:
        """What happens before which job."""
        happenings = (
            [workers.terminate] * self.terminations
            + [workers.kill] * self.worker_kills
            + [workers.kill_engine] * self.engine_kills
        )
        order = [*happenings[::2], *happenings[1::2]]
        return {self.jobs * (n + 1) // (len(order) + 1): event for n, event in enumerate(order)}


async def live_through(day: Day, url: str, workers: Fleet) -> list[tuple[Ask, ClientOutcome]]:
    """Play every job of the day, 48 at a time, while things happen."""
    asks, events = iter(plan(day.jobs, day.seed)), day.events(workers)
    found: list[tuple[Ask, ClientOutcome]] = []
    happening: list[asyncio.Task[None]] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=240)) as session:
        client = Client(session, url)
        root = url.split("/v2/")[0]
        async with session.post(f"{root}/faults", json=FAULTS) as answer:
            assert answer.status == 200

        async def one_client() -> None:
            for ask in asks:
                if event := events.pop(ask.number, None):
                    happening.append(asyncio.create_task(event()))
                found.append((ask, await client.play(ask)))

        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(one_client())
        await asyncio.gather(*happening)
    return found


async def survive(day: Day) -> None:
    """Live through a day and judge it."""
    async with AsyncExitStack() as stack:
        url = stack.enter_context(gateway_process("--faults"))
        proxy = await stack.enter_async_context(faulty(url, *CUTS, seed=7))
        workers = stack.enter_context(fleet(proxy.url, 2))
        found = await live_through(day, url, workers)
        faults = [f"{ask}: {fault}: {outcome}" for ask, outcome in found if (fault := fault_in(ask, outcome))]
        counts = Counter(outcome.status for _, outcome in found)
        assert not faults, f"{len(faults)} of {day.jobs}, {counts}:\n" + "\n".join(faults[:10]) + workers.output()
        assert len(found) == day.jobs
        assert workers.exit_codes == [0] * day.terminations
        # Despite the faults, most jobs that were not cancelled get their answer.
        errors = Counter(outcome.error for _, outcome in found if outcome.status == "FAILED")
        assert counts["COMPLETED"] > 0.75 * day.jobs, f"{counts} {errors.most_common(8)}"


@pytest.mark.timeout(180)
async def test_a_short_bad_day() -> None:
    """400 jobs, one SIGTERM, one worker and one engine killed."""
    await survive(Day(jobs=400, seed=1, terminations=1, worker_kills=1, engine_kills=1))


@pytest.mark.matrix
@pytest.mark.timeout(1800)
async def test_a_long_bad_day() -> None:
    """10,000 jobs, three SIGTERMs, two workers and two engines killed."""
    await survive(Day(jobs=10_000, seed=2, terminations=3, worker_kills=2, engine_kills=2))
