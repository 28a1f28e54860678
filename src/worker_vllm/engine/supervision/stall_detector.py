"""Whether the engine still moves: by its own counters in `/metrics`, and by who waits for it. Pure but for the clock.

It stalls when its server answers nothing at all, or when requests of ours wait for it and none of its counters moves.
What the engine itself says to be running decides nothing: a core that hangs before its first step says 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from worker_vllm.engine.client.metrics import Progress

LOOKS = 8  # in the time after which a stall is believed
LAG_S = 1.0  # how late this process may look without having been frozen


class Waits:
    """How many requests wait for the engine's next word, and since when there was always one."""

    __slots__ = ("_clock", "_since", "count")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = 0.0
        self.count = 0

    @property
    def since(self) -> float | None:
        """The moment from which on somebody waited without a pause; None when nobody waits."""
        return self._since if self.count else None

    def begin(self) -> None:
        """One more waits."""
        if not self.count:
            self._since = self._clock()
        self.count += 1

    def end(self) -> None:
        """One got its word, or no longer wants it."""
        self.count -= 1


class StallDetector:
    """Tells for how long the engine has been stalled. Looked at every `interval_s`; times are monotonic seconds."""

    def __init__(self, interval_s: float) -> None:
        self._longest_step_s = 2.5 * interval_s  # a look's own answer may take an interval, and timers are not exact
        self._longest_gap_s = 3 * interval_s + LAG_S
        self._seen_at = 0.0
        self._seen: Progress | None = None
        self._still_s = 0.0

    def see(self, progress: Progress | None, waiting_since: float | None, now: float) -> float:
        """Seconds of stall up to `now`; without `progress` the server did not answer.

        A gap between two looks means that the machine was frozen, this process with it: the stall starts anew. An
        answer after a silence is progress, and so is any where nobody waits or no counter is shown.
        """
        step_s = now - self._seen_at
        moved = progress is not None and (
            waiting_since is None or not progress.counters or progress != self._seen or self._seen is None
        )
        if moved or step_s > self._longest_gap_s:
            self._still_s = 0.0
        else:
            self._still_s += min(step_s, self._longest_step_s)
        self._seen_at, self._seen = now, progress
        if progress is not None and waiting_since is not None:
            return min(self._still_s, now - waiting_since)
        return self._still_s
