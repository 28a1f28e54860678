"""Follows the launches of one supervisor for its observer: their facts, their download, their requests in flight."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from worker_vllm.engine.diagnosis.types import Diagnosis
from worker_vllm.engine.preflight.start_facts import StartFacts, relaunch_facts
from worker_vllm.engine.records.events import EngineDeath, EngineObserver, FinishedStart, RequestsInFlight
from worker_vllm.settings.types import EngineSettings

if TYPE_CHECKING:
    from worker_vllm.engine.supervision.engine_run import EngineRun


logger = logging.getLogger(__name__)


class Launches:
    """Records each launch for the supervisor that owns it, and reports finished starts and deaths to the observer."""

    def __init__(
        self, observer: EngineObserver, facts: StartFacts | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.in_flight = RequestsInFlight(keep_bodies=observer.keeps_bodies)
        self._observer = observer
        self._facts = facts
        self._clock = clock
        self._download_began: float | None = None
        self._download_s: float | None = None  # of the launch that follows it

    def download_begins(self) -> None:
        """The download of missing files begins."""
        self._download_began = self._clock()

    def download_ended(self) -> None:
        """The files are complete."""
        assert self._download_began is not None
        self._download_s = self._clock() - self._download_began

    def relaunching(self, settings: EngineSettings, environment: Mapping[str, str]) -> None:
        """The engine is about to be launched again, after its death."""
        if self._facts is not None:
            self._facts = relaunch_facts(self._facts, settings, environment)

    def ready(self, run: EngineRun, settings: EngineSettings, took_s: float) -> None:
        """The launch is READY after `took_s` seconds."""
        timeline, download_s, self._download_s = run.timeline, self._download_s, None
        logger.info("the engine is ready after %s", timeline.summary())
        phases = tuple(timeline.phases)
        self._observer.start_finished(
            FinishedStart(settings, self._facts, phases, took_s, timeline.figures, download_s)
        )

    def died(self, run: EngineRun, settings: EngineSettings, diagnosis: Diagnosis) -> None:
        """The engine of this launch has exited without being asked to."""
        in_flight = self.in_flight.snapshot()
        death = EngineDeath(settings, self._facts, run.engine_exit, diagnosis, run.healthy_s, in_flight)
        self._observer.engine_died(death)
