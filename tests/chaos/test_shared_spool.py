"""Workers that share a volume: a live one keeps its undelivered results, those of a dead one are taken over."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.paths import OWN_WORKER
from tests.support.platforms.raw_platform import Request, Script, answer, raw_platform, worker_variables
from tests.support.processes import running
from worker_vllm.serverless.delivery.result_spool import JobResult, ResultSpool

JOBS = [f"job-{n}" for n in range(12)]

pytestmark = pytest.mark.timeout(60)


async def test_only_the_results_of_the_dead_are_taken_over(tmp_path: Path) -> None:
    """The platform answers 503 'come back in a minute' to every result of w1; w2 starts on the same volume."""
    spool = tmp_path / "spool"
    async with raw_platform() as raw:

        def later(request: Request) -> Script | None:
            refused = request.route == "job-done" and request.job_id in JOBS and not dead
            return [answer(503, b"", "Retry-After: 60")] if refused else None

        dead = False
        raw.answers = later
        command = [sys.executable, str(OWN_WORKER)]
        with running(command, worker_variables(raw, "w1", SPOOL_DIRECTORY=str(spool))) as first:
            await raw.give(*({"id": name, "input": {"stream": False, "steps": [{"say": name}]}} for name in JOBS))
            await raw.until(lambda: len(raw.of("job-done")) == len(JOBS))
            while len(list(spool.rglob("*.result"))) < len(JOBS):
                await asyncio.sleep(0.05)  # a file has no event
            url = f"{raw.url}/job-done/w0/free?"
            ResultSpool(spool).save_shared(JobResult("free", url, (b'{"output":[0]}',), 1e12))
            with running(command, worker_variables(raw, "w2", SPOOL_DIRECTORY=str(spool))):
                await raw.until(lambda: bool(raw.of("job-done", "free")))
            assert Counter(found.job_id for found in raw.of("job-done")) == Counter([*JOBS, "free"])
            dead = True
            first.signal(signal.SIGKILL)
            first.exit_code()
        with running(command, worker_variables(raw, "w3", SPOOL_DIRECTORY=str(spool))):
            await raw.until(lambda: len(raw.of("job-done")) == 2 * len(JOBS) + 1)
            await raw.end()
    assert Counter(found.job_id for found in raw.of("job-done")) == Counter([*JOBS, *JOBS, "free"])
    assert {found.job_id: found.json for found in raw.of("job-done")[-len(JOBS) :]} == {
        name: {"output": [name]} for name in JOBS
    }
