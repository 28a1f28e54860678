"""Takes jobs while there is room: one long poll at a time, for all free slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worker_vllm.engine.interface import EngineLoad
from worker_vllm.serverless import protocol
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.serverless.intake.backoff import PollBackoff
from worker_vllm.serverless.intake.long_poll import poll

log = logging.getLogger(__name__)

REPORT_INTERVAL_S = 1.0  # how often a full worker asks the engine whether it could do more
MOST_FAULTS_SHOWN = 10  # in one line of the log

LoadReport = Callable[[], Awaitable[EngineLoad | None]]


async def tells_nothing() -> EngineLoad | None:
    """The load of an engine that does not report any."""
    return None


@dataclass(frozen=True, slots=True)
class Crew:
    """The jobs that are here, as the intake sees them."""

    busy: Callable[[], bool]
    full: Callable[[], bool]
    start: Callable[[protocol.Job], None]


class TakeLoop:
    """Polls for jobs until told to stop. `room_changed()` makes it look again at how many fit."""

    def __init__(
        self, platform: Platform, addresses: protocol.Addresses, admission: Admission, load: LoadReport
    ) -> None:
        self.stopped = asyncio.Event()
        self._platform = platform
        self._addresses = addresses
        self._admission = admission
        self._load = load
        self._changed = asyncio.Event()
        self._url = ""

    def room_changed(self) -> None:
        """A job has ended, or there is another reason to count again."""
        self._changed.set()

    def stop(self) -> None:
        """Start no further poll; one that is out may still bring jobs."""
        self.stopped.set()
        self._changed.set()

    def leave(self) -> bool:
        """Have the poll that is out end as soon as it can without losing its answer; whether that has begun."""
        return self._platform.leave(self._url) if self._url else False

    async def run(self, crew: Crew, pace: PollBackoff) -> None:
        """Take jobs and start each in the same turn of the loop, until `stop`."""
        while not self.stopped.is_set():
            count = 0 if crew.full() else self._admission.free
            if count == 0:
                await self._wait_for_room(crew)
                continue
            self._url = self._addresses.take(count, crew.busy())
            polled = await poll(self._platform, self._url, "job-take")
            taken = protocol.parse_take(polled.body) if polled.body else protocol.Taken()
            if taken.faults:
                shown = "; ".join(taken.faults[:MOST_FAULTS_SHOWN])
                log.error("job-take: %d entries that nobody can be told of: %s", len(taken.faults), shown)
            for job in taken.jobs:
                _start(crew, job)
            if taken.jobs:
                pace.useful()
            elif pause_s := pace.after(polled.answer, polled.held_s):
                await _set_within(self.stopped, pause_s)

    async def _wait_for_room(self, crew: Crew) -> None:
        self._changed.clear()
        if self._admission.wants_report and not crew.full():
            self._admission.hear(await self._load())
            if not self._admission.free:
                await _set_within(self._changed, REPORT_INTERVAL_S)
        else:
            await self._changed.wait()


def _start(crew: Crew, job: protocol.Job) -> None:
    try:
        crew.start(job)
    except Exception:
        log.exception("job=%s could not be started, its neighbours are", job["id"])


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
