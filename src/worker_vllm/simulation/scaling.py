"""The platform's scaling as its documentation states it: how many workers an endpoint should have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Demand:
    """What the platform sees of an endpoint: jobs waiting and running, the longest wait, workers alive."""

    queued: int
    in_progress: int
    oldest_wait_s: float
    workers: int


class Scaler(Protocol):
    """A rule that says how many workers there should be."""

    def wanted(self, demand: Demand) -> int:
        """The number of workers, before the endpoint's limits."""


@dataclass(frozen=True, slots=True)
class QueueDelayScaler:
    """One more worker while the oldest job has waited longer than `delay_s` (QUEUE_DELAY, default 4 seconds)."""

    delay_s: float

    def wanted(self, demand: Demand) -> int:
        """One more than there are, or as many as there are."""
        late = demand.queued > 0 and demand.oldest_wait_s > self.delay_s
        return demand.workers + 1 if late else demand.workers


@dataclass(frozen=True, slots=True)
class RequestCountScaler:
    """So many jobs, waiting or running, for each worker (REQUEST_COUNT)."""

    jobs: int

    def wanted(self, demand: Demand) -> int:
        """All jobs over the jobs per worker, rounded up."""
        return math.ceil((demand.queued + demand.in_progress) / self.jobs)


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Limits and times of an endpoint: workers, seconds until an idle worker ends, seconds between two decisions."""

    min_workers: int
    max_workers: int
    idle_timeout_s: float = 5.0
    decision_s: float = 1.0
    cold_start_s: float = 60.0
