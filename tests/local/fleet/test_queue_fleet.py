"""A fleet of queue workers as processes: scaled by load, back after the idle timeout, killed, frozen, thawed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.local.fleet.stack import PROMPT, SLOW, fleet
from tests.support.leftovers import gone, left_of

pytestmark = pytest.mark.timeout(90)


def option(**options: object) -> list[str]:
    """`--set` for each option of the scaling group."""
    return [word for name, value in options.items() for word in ("--set", f"scaling.{name}={value}")]


async def test_the_load_scales_one_worker_to_three_and_idleness_back_to_one() -> None:
    """By queue delay; every job is answered, and each worker's cold start is told in seconds."""
    scaling = option(value=0.3, idle_timeout_s=1)
    async with fleet("--workers", "1:3", *scaling, environment=SLOW) as stack:
        assert list(await stack.until(idle=1)) == ["worker-1"]
        jobs = [await stack.run() for _ in range(18)]
        workers = await stack.until(running=3)
        assert all(0 < worker["cold_start_s"] < 30 for worker in workers.values())
        assert [await stack.answer(job) for job in jobs] == [("COMPLETED", PROMPT)] * 18
        await stack.until(idle=1)
        health = (await stack.http.get("/v2/local/health")).json
        assert (health["jobs"]["completed"], health["jobs"]["retried"]) == (19, 0)  # and the models
        events = [await stack.events(f"worker-{n}") for n in (1, 2, 3)]
        assert sorted(map(len, events)) == [2, 4, 4]
        assert ["started", "ready", "draining", "ended"] in events
        [scaled] = (await stack.report())["scaling"]
        assert (scaled["workers"], scaled["wanted"], scaled["min"], scaled["max"]) == (1, 1, 1, 3)


async def test_request_count_starts_what_the_formula_says() -> None:
    """ceil(5 / 2)."""
    async with fleet(
        "--workers", "1:4", *option(scaler="REQUEST_COUNT", value=2, idle_timeout_s=60), environment=SLOW
    ) as stack:
        jobs = [await stack.run() for _ in range(5)]
        await stack.until(running=1, initializing=2)
        assert [await stack.answer(job) for job in jobs] == [("COMPLETED", PROMPT)] * 5
        await stack.until(idle=3)


async def test_from_zero_to_zero_and_again() -> None:
    """Without workers, a job starts one at once; its process has a new id."""
    async with fleet("--workers", "0:2", *option(idle_timeout_s=0.5)) as stack:
        for launch in ("worker-1-2", "worker-1-3"):
            await stack.until()
            job = await stack.run()
            assert await stack.answer(job) == ("COMPLETED", PROMPT)
            assert list(await stack.workers()) == [launch]


async def test_a_killed_workers_jobs_are_answered_by_others() -> None:
    async with fleet("--workers", "2", environment=SLOW) as stack:
        jobs = [await stack.run() for _ in range(4)]
        await stack.until(running=2)
        assert (await stack.operate("worker-1", "kill")).status == 202
        assert [await stack.answer(job) for job in jobs] == [("COMPLETED", PROMPT)] * 4
        assert (await stack.http.get("/v2/local/health")).json["jobs"]["retried"] == 1
        workers = await stack.until(idle=2)
        assert "worker-1" not in workers
        assert "worker-2" in workers
        assert await stack.events("worker-1") == ["started", "ready", "killed", "ended"]


async def test_a_drained_worker_finishes_its_job_and_is_replaced() -> None:
    async with fleet("--workers", "1", environment=SLOW) as stack:
        jobs = [await stack.run() for _ in range(3)]
        await stack.until(running=1)
        assert (await stack.operate("worker-1", "drain")).status == 202
        assert (await stack.operate("worker-1", "freeze")).status == 409
        assert [await stack.answer(job) for job in jobs] == [("COMPLETED", PROMPT)] * 3
        assert (await stack.http.get("/v2/local/health")).json["jobs"]["retried"] == 0
        [replacement] = await stack.workers()
        assert replacement != "worker-1"


async def test_a_frozen_workers_jobs_are_answered_by_others_and_it_thaws_as_it_was() -> None:
    """The same process serves again: no cold start, nothing relaunched."""
    async with fleet("--workers", "2", environment=SLOW) as stack:
        jobs = [await stack.run() for _ in range(4)]
        before = (await stack.until(running=2))["worker-1"]
        assert (await stack.operate("worker-1", "freeze")).status == 202
        assert (await stack.states())["worker-1"] == "frozen"
        assert [await stack.answer(job) for job in jobs] == [("COMPLETED", PROMPT)] * 4
        await stack.until(frozen=1, idle=2)
        assert (await stack.operate("worker-1", "thaw")).status == 202
        after = (await stack.until(idle=2))["worker-1"]
        assert (after["pid"], after["cold_start_s"]) == (before["pid"], before["cold_start_s"])
        assert (await stack.events("worker-1"))[:5] == ["started", "ready", "frozen", "thawed", "ready"]
        assert "relaunch" not in stack.process.output()


async def test_flashboot_freezes_the_idle_and_thaws_them_for_the_next_job() -> None:
    """Faster than a cold start, in the same process."""
    async with fleet("--workers", "0:1", *option(idle_timeout_s=0.3, flashboot="on")) as stack:
        [frozen] = (await stack.until(frozen=1)).values()
        asked = time.monotonic()
        assert await stack.answer(await stack.run()) == ("COMPLETED", PROMPT)
        assert time.monotonic() - asked < frozen["cold_start_s"]
        [thawed] = (await stack.workers()).values()
        assert thawed["pid"] == frozen["pid"]
        await stack.until(frozen=1)


async def test_the_log_of_a_worker_can_be_followed() -> None:
    async with fleet("--workers", "1") as stack:
        first = (await stack.http.get("/console/api/workers/worker-1/log")).json
        assert [line["number"] for line in first["lines"]] == list(range(1, first["next"] + 1))
        assert any("engine" in line["message"] for line in first["lines"])
        await stack.answer(await stack.run())
        assert (await stack.http.get("/console/api/workers/worker-1/log?after=9999")).json["lines"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_the_end_of_the_gateway_ends_frozen_workers(place: Path, number: signal.Signals) -> None:
    """Ctrl-C, and kill -9, after which nobody is left to thaw them."""
    async with fleet("--workers", "1:2", environment={"TMPDIR": str(place)}) as stack:
        assert (await stack.operate("worker-1", "freeze")).status == 202
        assert left_of(place)
        os.kill(stack.process.pid, number)
        await asyncio.to_thread(stack.process.exit_code)
        await gone(place)
