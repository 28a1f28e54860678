"""How the engine's first life begins: refused, downloading, or already spawned. Light: the standard library alone."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight.preflight import preflight
from worker_vllm.engine.process.child_process import EngineProcess, spawn
from worker_vllm.models.locate import FoundModel
from worker_vllm.settings.types import EngineSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a hub that cannot be reached is asked again: the pauses double up to the longest, and end in all."""

    first_s: float = 2.0
    longest_s: float = 30.0
    total_s: float = 120.0

    def pauses(self, deadline_s: float) -> Iterator[float]:
        """The pauses between the tries, together within the total and the deadline."""
        pause, left = self.first_s, min(self.total_s, deadline_s)
        while pause <= left:
            yield pause
            left -= pause
            pause = min(self.longest_s, 2 * pause)


@dataclass(frozen=True, slots=True)
class StartPlan:
    """What the supervisor takes over."""

    settings: EngineSettings
    environment: Mapping[str, str]
    process: EngineProcess | None = None  # spawned already; with `found`, it waits to be told what to serve
    refusal: Diagnosis | None = None  # nothing is to be spawned
    found: FoundModel | None = None  # with downloads to be made first
    backoff: Backoff = field(default_factory=Backoff)


def plan_start(settings: EngineSettings, environment: Mapping[str, str]) -> StartPlan:
    """Check what can be checked and spawn the engine at once if nothing speaks against it.

    Where something is not on disk yet, the engine imports its modules while that is downloaded.
    """
    try:
        return begin_checked(settings, environment)
    except OSError as error:  # no directory, no process: where the checks had nothing to say
        sentence = f"the engine cannot be spawned: {error}; check TMPDIR, and the container's limits (ulimit -a)"
        return StartPlan(settings, environment, refusal=Diagnosis("spawn", Scope.SETTINGS, sentence))


def begin_checked(settings: EngineSettings, environment: Mapping[str, str]) -> StartPlan:
    """The same. Raises OSError."""
    checked = preflight(settings, environment)
    for note in checked.notes:
        logger.info("%s", note)
    if checked.refusal is not None:
        return StartPlan(checked.settings, environment, refusal=checked.refusal)
    if checked.found is not None and checked.found.downloads:
        # The child reads its environment while it imports: it is given what will be true when all is fetched.
        promised = {**checked.found.environment_when_fetched, **checked.given.environment}
        settings = replace(checked.given, environment=promised)
        process = spawn(settings, environment, waiting=True)
        logger.info("the engine was spawned %.2f s after this process began, to import meanwhile", age_s())
        return StartPlan(settings, environment, process=process, found=checked.found)
    process = spawn(checked.settings, environment)
    logger.info("the engine was spawned %.2f s after this process began", age_s())
    return StartPlan(checked.settings, environment, process=process)


def age_s() -> float:
    """Seconds since this process was started, as the kernel counts them."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
