"""Worker processes that are frozen while the platform goes on, as by FlashBoot: no answer is lost."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from tests.support.paths import OWN_WORKER
from tests.support.platforms.raw_platform import answer, raw_platform, worker_variables
from tests.support.processes import running

WORKING, HANDED_OUT = 6, 24  # of the player's 16 slots 10 are free for what comes during the freeze

pytestmark = pytest.mark.timeout(180)


def player(text: str, streamed: bool) -> dict[str, object]:
    """A job that yields one text."""
    return {"id": text, "input": {"stream": streamed, "steps": [{"say": text}]}}


@pytest.mark.parametrize("frozen_s", [3, *(pytest.param(s, marks=pytest.mark.matrix) for s in (30, 70, 100))])
async def test_nothing_that_came_during_a_freeze_is_lost(frozen_s: float) -> None:
    """Jobs handed out on the take that was open, answers to pieces and results that were on their way: 70 s is longer
    than a piece waits for its answer, 100 s longer than a take."""
    async with raw_platform() as raw:
        release = asyncio.Event()
        raw.always = {"job-stream": [release, answer()], "job-done": [release, answer()]}
        with running([sys.executable, str(OWN_WORKER)], worker_variables(raw)) as worker:
            before = [f"before-{n}" for n in range(WORKING)]
            await raw.give(*(player(name, n % 2 == 0) for n, name in enumerate(before)))
            await raw.until(lambda: len(raw.of("job-stream")) + len(raw.of("job-done")) == WORKING)
            worker.signal(signal.SIGSTOP)
            release.set()
            during = [f"during-{n}" for n in range(HANDED_OUT)]
            await raw.give(*(player(name, False) for name in during))
            await asyncio.sleep(frozen_s)  # being frozen takes time
            worker.signal(signal.SIGCONT)
            names = {*before, *during}
            await raw.until(lambda: {found.job_id for found in raw.of("job-done")} == names)
            await raw.end()
        results = {found.job_id: found.json for found in raw.of("job-done")}
        assert results == {name: {"output": [name]} for name in names}
        assert len(raw.of("job-done")) == len(results)
        assert sorted(found.json["output"] for found in raw.of("job-stream")) == sorted(before[::2])
