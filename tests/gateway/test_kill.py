"""kill -9 of the gateway in the middle of a thousand jobs: the next process goes on with all of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.fake_worker import FakeWorker
from tests.support.attached import GATEWAY
from tests.support.http import Answer, Http
from tests.support.processes import Process, running

WORKERS = 4
BATCH = 25


class LoyalWorker:
    """Runs jobs, lists them in its pings, and repeats what the gateway did not answer, as workers do."""

    def __init__(self, http: Http, worker_id: str, runs: Counter[str]) -> None:
        self._fake = FakeWorker(http, worker_id)
        self._runs = runs
        self._held: set[str] = set()

    async def work(self) -> None:
        """Take and run jobs for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ping())
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    answer = await self._fake.take_batch(BATCH)
                    jobs = answer.json if answer.status == 200 else []
                    self._held.update(job["id"] for job in jobs)
                    async with asyncio.TaskGroup() as running_jobs:
                        for job in jobs:
                            running_jobs.create_task(self._run(job["id"], job["input"]))
                await asyncio.sleep(0.01)

    async def _run(self, job_id: str, given: int) -> None:
        self._runs[job_id] += 1
        await asyncio.sleep(0.05)
        await until_answered(lambda: self._fake.done(job_id, {"output": given * 2}))
        self._held.discard(job_id)

    async def _ping(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                await self._fake.ping(sorted(self._held))
            await asyncio.sleep(0.5)


async def until_answered(ask: object) -> Answer:
    """Ask again until there is an answer with status 200."""
    assert callable(ask)
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            answer: Answer = await ask()
            if answer.status == 200:
                return answer
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def gateway_on(port: int, file: Path) -> Iterator[Process]:
    """A gateway process on this port with this file."""
    command = [*GATEWAY[:-1], str(port), "--db", str(file), "--set", "fleet.ping_interval_s=0.5"]
    command += ["--set", "limits.queued_jobs=20000"]
    with running(command) as process:
        process.line("gateway on ")
        yield process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


KILLS = [
    pytest.param(1_000, 1, marks=pytest.mark.timeout(120)),
    pytest.param(10_000, 3, marks=[pytest.mark.matrix, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize(("jobs", "kills"), KILLS)
async def test_a_killed_gateway_loses_and_doubles_no_job(tmp_path: Path, jobs: int, kills: int) -> None:
    """Queued, running and ended ones; each runs once, and has its own answer at the end."""
    port, file, runs = free_port(), tmp_path / "state.db", Counter[str]()
    async with Http(f"http://127.0.0.1:{port}") as http, working(http, runs) as start_workers:
        ids: list[str] = []
        for kill in range(kills):
            with gateway_on(port, file) as process:
                while len(ids) < jobs:
                    ids.append((await http.post("/v2/local/run", {"input": len(ids)})).json["id"])
                start_workers()
                while sum(runs.values()) < jobs * (kill + 1) // (kills + 2):
                    await asyncio.sleep(0.01)
                process.signal(signal.SIGKILL)
                await asyncio.to_thread(process.exit_code, 10)
        assert sum(runs.values()) < jobs
        with gateway_on(port, file):
            found = [await settled(http, job_id) for job_id in ids]
            health = (await http.get("/v2/local/health")).json["jobs"]
    assert found == [("COMPLETED", n * 2) for n in range(jobs)]
    assert runs == Counter(dict.fromkeys(ids, 1))
    assert (health["completed"], health["inQueue"], health["inProgress"]) == (jobs, 0, 0)


@contextlib.asynccontextmanager
async def working(http: Http, runs: Counter[str]) -> AsyncIterator[Callable[[], None]]:
    """The workers: they start at the first call, and end with the block."""
    workers: list[asyncio.Task[None]] = []

    def start() -> None:
        if not workers:
            for number in range(1, WORKERS + 1):
                workers.append(asyncio.create_task(LoyalWorker(http, f"w{number}", runs).work()))

    try:
        yield start
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def settled(http: Http, job_id: str) -> tuple[str, object]:
    """The job's state and output once it has ended."""
    while True:
        answer = (await until_answered(lambda: http.get(f"/v2/local/status-sync/{job_id}"))).json
        if answer["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
            return answer["status"], answer.get("output")
