"""Plans the engine's first launch: refused, downloading, or already spawned. Imports the standard library alone."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight.preflight import Preflight, preflight
from worker_vllm.engine.preflight.start_facts import StartFacts, start_facts
from worker_vllm.engine.process.child_process import EngineProcess, spawn
from worker_vllm.models.locate import FoundModel
from worker_vllm.settings.types import EngineSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts to reach the hub: they double up to the longest; their sum is limited."""

    first_s: float = 2.0
    longest_s: float = 30.0
    total_s: float = 120.0

    def pauses(self, deadline_s: float) -> Iterator[float]:
        """The pauses in seconds; their sum stays within the total and the deadline."""
        pause, left = self.first_s, min(self.total_s, deadline_s)
        while pause <= left:
            yield pause
            left -= pause
            pause = min(self.longest_s, 2 * pause)


@dataclass(frozen=True, slots=True)
class StartPlan:
    """What the supervisor starts from: made by the light start, or by a test."""

    settings: EngineSettings
    environment: Mapping[str, str]
    process: EngineProcess | None = None  # spawned already; with `found`, it waits for its arguments
    refusal: Diagnosis | None = None  # no engine is spawned
    found: FoundModel | None = None  # a model whose files must be downloaded first
    backoff: Backoff = field(default_factory=Backoff)
    facts: StartFacts | None = None  # for the receipt of the start


def plan_start(settings: EngineSettings, environment: Mapping[str, str]) -> StartPlan:
    """Run the preflight and spawn the engine at once unless a check refuses it. Raises nothing.

    While missing files are downloaded, the spawned engine imports its modules.
    """
    try:
        return plan_checked(settings, environment)
    except OSError as error:  # no directory or no process, for a reason that the checks do not cover
        return StartPlan(settings, environment, refusal=spawn_refusal(error))


def spawn_refusal(error: OSError) -> Diagnosis:
    """The diagnosis of an engine that cannot be spawned, at the first launch or at a relaunch."""
    sentence = f"the engine cannot be spawned: {error}; check TMPDIR, and the container's limits (ulimit -a)"
    return Diagnosis("spawn", Scope.SETTINGS, sentence)


def plan_checked(settings: EngineSettings, environment: Mapping[str, str]) -> StartPlan:
    """As `plan_start`. Raises OSError when the process cannot be spawned."""
    checked = preflight(settings, environment)
    for note in checked.notes:
        logger.info("%s", note)
    if checked.refusal is not None:
        return StartPlan(checked.settings, environment, refusal=checked.refusal)
    if checked.found is not None and checked.found.downloads:
        # The child reads its environment while it imports: it gets the one that holds after the download.
        environment_after = {**checked.found.environment_when_fetched, **checked.given.environment}
        settings = replace(checked.given, environment=environment_after)
        process = spawn(settings, environment, waiting=True)
        age_s = process_age_s()
        logger.info(
            "the engine was spawned %.2f s after this process started, and imports during the download", age_s
        )
        facts = facts_of(checked, environment, age_s)
        return StartPlan(settings, environment, process=process, found=checked.found, facts=facts)
    process = spawn(checked.settings, environment)
    age_s = process_age_s()
    logger.info("the engine was spawned %.2f s after this process started", age_s)
    return StartPlan(checked.settings, environment, process=process, facts=facts_of(checked, environment, age_s))


def facts_of(checked: Preflight, environment: Mapping[str, str], spawned_after_s: float) -> StartFacts | None:
    """The facts for the receipt; None where they cannot be read, which must not fail a start."""
    settings = checked.given if checked.found is not None and checked.found.downloads else checked.settings
    try:
        facts = start_facts(settings, environment, checked.found, checked.key, checked.driver)
    except OSError as error:
        logger.debug("no facts for the receipt of the start: %s", error)
        return None
    return replace(facts, spawned_after_s=spawned_after_s)


def process_age_s() -> float:
    """Seconds since the kernel started this process."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
