"""A bad day, seeded: slow, refused, dropped and cut requests, cancels, signals, and killed workers and engines.

From the client's view every job ends exactly once: with its own right answer, a clear error, or CANCELLED where it
was cancelled. None is lost, none doubled, none swapped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import pytest

from tests.chaos.client import Client
from tests.chaos.fleet import Fleet, fleet
from tests.chaos.plan import Ask, ClientOutcome, fault_in, plan
from tests.support.attached import gateway_process

CLIENTS = 48
FAULTS = {
    "seed": 7,
    "rules": [
        {"route": "job-stream", "probability": 0.2, "latency_s": 0.03},
        {"route": "job-stream", "probability": 0.03, "status": 429},
        {"route": "job-stream", "probability": 0.03, "status": 502},
        {"route": "job-stream", "probability": 0.02, "drop": "after"},
        {"route": "job-stream", "probability": 0.01, "drop": "before"},
        {"route": "job-done", "probability": 0.1, "latency_s": 0.05},
        {"route": "job-done", "probability": 0.05, "status": 500},
        {"route": "job-done", "probability": 0.03, "status": 429},
        {"route": "job-done", "probability": 0.05, "drop": "after"},
        {"route": "job-take", "probability": 0.05, "status": 502},
        {"route": "job-take-batch", "probability": 0.05, "status": 500},
        {"route": "job-take-batch", "probability": 0.05, "cut_after_s": 0.02},
        {"route": "job-take-batch", "probability": 0.02, "status": 429, "times": 3},
        {"route": "job-stop", "probability": 0.1, "cut_after_s": 0.2},
        {"route": "ping", "probability": 0.1, "status": 500},
    ],
}


@dataclass(frozen=True, slots=True)
class Day:
    """So many jobs; SIGTERMs and kills happen evenly spread over them."""

    jobs: int
    seed: int
    terminations: int
    worker_kills: int
    engine_kills: int

    def events(self, workers: Fleet) -> dict[int, Callable[[], Awaitable[None]]]:
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
    asks, found = iter(plan(day.jobs, day.seed)), []
    events, happening = day.events(workers), []
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
    with gateway_process("--faults") as url, fleet(url, 2) as workers:
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
