"""The rate of stream POSTs: as many a second as event loop and machine can bear, in the order of asking."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker_vllm.observability import metric_names as names
from worker_vllm.observability.metric_names import Metric
from worker_vllm.serverless.delivery.machine_load import MachineLoad

TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class PostRateLimits:
    """How much this worker posts: pieces a second (within bounds), in one burst, and POSTs in flight.

    The rate falls while CPU time is short: the event loop runs its timers later than `late_s`, or the machine has no
    idle CPU, so that each POST delays the engine. It is adjusted every `adjust_interval_s`, and falls to `least`.
    """

    max_per_second: float = 2500.0
    min_per_second: float = 200.0
    root_per_second: float = 70.0
    longest_interval_s: float = 0.18
    burst: float = 32.0
    max_in_flight: int = 128
    late_s: float = 0.008
    adjust_interval_s: float = 0.05

    def least(self, streams: int) -> float:
        """The lowest rate for so many streams, which leaves each a piece every `longest_interval_s` at least.

        All POSTs together cost CPU in proportion to the rate, and the end of a stream waits half an interval for its
        last piece: the sum of both is least where the rate grows with the square root of the streams.
        """
        balanced = self.root_per_second * math.sqrt(streams)
        least = max(self.min_per_second, balanced, streams / self.longest_interval_s)
        return min(self.max_per_second, least)


class TokenBucket:
    """A token bucket whose rate falls while CPU time is short. Pure arithmetic; `now` is in seconds."""

    def __init__(self, limits: PostRateLimits, now: float) -> None:
        self.per_second = limits.max_per_second
        self._limits = limits
        self._tokens = limits.burst
        self._at = now
        self._adjusted_at = now
        self._max_late_s = 0.0

    def available(self, now: float) -> int:
        """How many pieces may be posted now."""
        self._tokens = min(self._limits.burst, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        return max(0, int(self._tokens))

    def spend(self) -> None:
        """Take one token for a piece that is posted; an urgent one may overdraw."""
        self._tokens -= 1

    def record_lateness(self, late_s: float) -> None:
        """Record how late a timer ran; the next adjustment reads the longest."""
        self._max_late_s = max(self._max_late_s, late_s)

    def adjust(self, now: float, streams: int, *, scarce: bool) -> None:
        """Lower the rate by 20 % after an interval with a late timer or on a busy machine, else raise it by 5 %."""
        limits = self._limits
        if now - self._adjusted_at < limits.adjust_interval_s:
            return
        factor = 0.8 if scarce or self._max_late_s > limits.late_s else 1.05
        self.per_second = min(limits.max_per_second, max(limits.least(streams), self.per_second * factor))
        self._adjusted_at, self._max_late_s = now, 0.0


class PostScheduler:
    """Grants permits to post, in the order of asking. A stream that waits for its permit merges text meanwhile.

    `scarce` tells whether the machine is short of CPU time.
    """

    def __init__(
        self, limits: PostRateLimits, clock: Callable[[], float], scarce: Callable[[], bool] = lambda: False
    ) -> None:
        self.bucket = TokenBucket(limits, clock())
        self._scarce = scarce
        self._streams = 0
        self._in_flight = 0
        self._limits = limits
        self._clock = clock
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def gauges(self) -> dict[Metric, Callable[[], float]]:
        """The present rate."""
        return {names.PIECES_LIMIT: lambda: self.bucket.per_second}

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while it lasts."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def acquire(self, *, urgent: bool) -> bool:
        """Wait for a permit, which must be released after the POST; returns whether there was a wait.

        A stream's first piece is urgent and does not wait.
        """
        self._adjust(self._clock())
        if urgent or not (self._queue or not self._is_free()):
            self._grant()
            return False
        permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(permit)
        self._start_timer()
        try:
            await permit
        except asyncio.CancelledError:
            if permit.done() and not permit.cancelled():
                self.release()
            raise
        return True

    def release(self) -> None:
        """A POST has ended."""
        self._in_flight -= 1
        if self._queue:
            self._start_timer()

    def _is_free(self) -> bool:
        return self._in_flight < self._limits.max_in_flight and self.bucket.available(self._clock()) > 0

    def _adjust(self, now: float) -> None:
        self.bucket.adjust(now, self._streams, scarce=self._scarce())

    def _grant(self) -> None:
        self._in_flight += 1
        self.bucket.spend()

    def _start_timer(self) -> None:
        if self._timer is None:
            due = self._clock() + TICK_S
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._grant_waiting, due)

    def _grant_waiting(self, due: float) -> None:
        self._timer = None
        now = self._clock()
        self.bucket.record_lateness(now - due)
        self._adjust(now)
        while self._queue and self._is_free():
            permit = self._queue.popleft()
            if not permit.done():
                self._grant()
                permit.set_result(None)
        if self._queue and self._in_flight < self._limits.max_in_flight:
            self._start_timer()


def machine_scheduler(clock: Callable[[], float]) -> PostScheduler:
    """The scheduler of a worker on this machine, whose load it follows. Create it in a running event loop."""
    return PostScheduler(PostRateLimits(), clock, MachineLoad(clock).scarce)
