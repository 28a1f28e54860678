"""How many workers an endpoint should have: RunPod's two scalers, the idle timeout. Pure: the clock is an argument.

RunPod documents REQUEST_COUNT as a formula, ceil((waiting + running) / value), and QUEUE_DELAY as "workers are added
when requests wait longer than value seconds". How many and how often is not documented: here one at a time, the next
no sooner than another value seconds later, and never more workers than requests. Of both, the first worker is started
at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ScalerType(StrEnum):
    """RunPod's scaler types."""

    QUEUE_DELAY = "QUEUE_DELAY"
    REQUEST_COUNT = "REQUEST_COUNT"


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """When workers are started and stopped; times are seconds."""

    min_workers: int = 1
    max_workers: int = 1
    scaler: ScalerType = ScalerType.QUEUE_DELAY
    value: float = 4.0  # seconds of waiting, or requests per worker
    idle_timeout_s: float = 5.0
    flashboot: bool = False  # freeze idle workers instead of ending them, and thaw them first


@dataclass(frozen=True, slots=True)
class Load:
    """The requests of an endpoint: waiting for a worker, with a worker, and the longest wait of those that wait."""

    waiting: int = 0
    running: int = 0
    longest_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ScalableWorker:
    """A worker that is starting or serving; those that drain or are frozen are not counted.

    `idle_since` is the time from which it has been ready without a request, None while it starts or works.
    """

    id: str
    idle_since: float | None = None


@dataclass(frozen=True, slots=True)
class Resize:
    """What to change now."""

    wanted: int
    start: int = 0
    stop: tuple[str, ...] = ()


class Scaler:
    """Decides for one endpoint; remembers only when it last added a worker."""

    def __init__(self, policy: ScalingPolicy) -> None:
        self.policy = policy
        self._added_at = -math.inf

    def decide(self, load: Load, workers: Sequence[ScalableWorker], now: float) -> Resize:
        """Compare the workers with the load. A worker is stopped only after it was idle for the timeout."""
        wanted = self._wanted(load, len(workers), now)
        if wanted > len(workers):
            self._added_at = now
            return Resize(wanted, start=wanted - len(workers))
        return Resize(wanted, stop=self._overdue(workers, len(workers) - self._kept(load), now))

    def to_json(self, load: Load, workers: Sequence[ScalableWorker], wanted: int) -> dict[str, Any]:
        """The policy and what it decides by, for people."""
        policy = self.policy
        return {
            "min": policy.min_workers,
            "max": policy.max_workers,
            "scaler": policy.scaler.value,
            "value": policy.value,
            "idle_timeout_s": policy.idle_timeout_s,
            "flashboot": policy.flashboot,
            "waiting": load.waiting,
            "running": load.running,
            "longest_wait_s": round(load.longest_wait_s, 3),
            "workers": len(workers),
            "wanted": wanted,
        }

    def _wanted(self, load: Load, present: int, now: float) -> int:
        """How many to have now; never below `present` for the queue's delay, which only adds."""
        if self.policy.scaler is ScalerType.REQUEST_COUNT:
            return self._within(math.ceil((load.waiting + load.running) / self.policy.value))
        if load.waiting and not present:
            return self._within(1)
        delayed = load.waiting and load.longest_wait_s > self.policy.value
        if delayed and now - self._added_at >= self.policy.value:
            return self._within(max(present, min(present + 1, load.waiting + load.running)))
        return self._within(present)

    def _kept(self, load: Load) -> int:
        """How many are kept however long they are idle."""
        if self.policy.scaler is ScalerType.REQUEST_COUNT:
            return self._within(math.ceil((load.waiting + load.running) / self.policy.value))
        return self._within(1 if load.waiting else 0)

    def _within(self, count: int) -> int:
        return max(self.policy.min_workers, min(count, self.policy.max_workers))

    def _overdue(self, workers: Sequence[ScalableWorker], count: int, now: float) -> tuple[str, ...]:
        """Up to `count` workers that were idle for too long, the longest idle first."""
        timeout_s = self.policy.idle_timeout_s
        idle = [w for w in workers if w.idle_since is not None and now - w.idle_since >= timeout_s]
        idle.sort(key=lambda worker: worker.idle_since or 0.0)
        return tuple(worker.id for worker in idle[: max(0, count)])
