"""Detects a stalled engine by its progress counters in `/metrics` and by the requests that wait for it. Pure.

The engine stalls when its server does not respond at all, or when requests of this worker wait for it and none of its
counters changes. The engine's own number of running requests decides nothing: a core that hangs before its first step
reports 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from worker_vllm.engine.client.metrics import Progress

CHECKS_PER_TIMEOUT = 8  # progress checks within the stall timeout
LAG_S = 1.0  # how late a check of this process may be without the machine having been frozen


class PendingReads:
    """How many requests wait for the next bytes from the engine, and since when there was always one."""

    __slots__ = ("_clock", "_since", "count")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = 0.0
        self.count = 0

    @property
    def since(self) -> float | None:
        """The time since which at least one request has waited without a pause; None when none waits."""
        return self._since if self.count else None

    def start(self) -> None:
        """Count one more waiting request."""
        if not self.count:
            self._since = self._clock()
        self.count += 1

    def end(self) -> None:
        """Count one less: it received bytes, or was cancelled."""
        self.count -= 1


class ClientRequests:
    """Since when requests that do not pass this worker wait for the engine, by the engine's own count: http mode.

    A core that hangs before its first step counts none of them.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def waiting_since(self, progress: Progress | None, now: float) -> float | None:
        """The time since which every progress showed an unfinished request; None when the last showed none."""
        if progress is not None:
            self._since = (now if self._since is None else self._since) if progress.unfinished else None
        return self._since


class StallDetector:
    """Measures how long the engine has stalled. Call `update` every `interval_s`; times are monotonic seconds.

    The engine responded at `started_at`: a server that falls silent before the first update is stalled since then.
    """

    def __init__(self, interval_s: float, started_at: float) -> None:
        self._longest_step_s = 2.5 * interval_s  # a check's own response may take an interval, and timers are inexact
        self._longest_gap_s = 3 * interval_s + LAG_S
        self._updated_at = started_at
        self._progress: Progress | None = None
        self._stalled_s = 0.0

    def update(self, progress: Progress | None, waiting_since: float | None, now: float) -> float:
        """Seconds of stall up to `now`; `progress` is None when the server did not respond.

        A gap between two updates means that the machine was frozen together with this process: the stall starts at 0
        again. A response after a silence counts as progress, and so does any response while no request waits or no
        counter is exposed.
        """
        step_s = now - self._updated_at
        moved = progress is not None and (
            waiting_since is None or not progress.counters or progress != self._progress or self._progress is None
        )
        if moved or step_s > self._longest_gap_s:
            self._stalled_s = 0.0
        else:
            self._stalled_s += min(step_s, self._longest_step_s)
        self._updated_at, self._progress = now, progress
        if progress is not None and waiting_since is not None:
            return min(self._stalled_s, now - waiting_since)
        return self._stalled_s
