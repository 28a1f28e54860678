"""Whose stream may post next: as many POSTs a second as the machine bears, so that a busy worker posts fewer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class PostRateLimits:
    """How much this worker posts: pieces a second (within bounds), in one burst, and POSTs on their way.

    The rate follows the event loop's lateness: a loop that runs its timers later than `late_s` is short of CPU.
    """

    most_per_second: float = 2000.0
    least_per_second: float = 800.0
    burst: float = 32.0
    in_flight: int = 128
    late_s: float = 0.008
    review_s: float = 0.05


class TokenBucket:
    """A token bucket whose rate yields to lateness: pure arithmetic over the clock it is told, in seconds."""

    def __init__(self, pace: PostRateLimits, now: float) -> None:
        self.per_second = pace.most_per_second
        self._pace = pace
        self._left = pace.burst
        self._at = now
        self._reviewed_at = now
        self._worst_s = 0.0

    def available(self, now: float) -> int:
        """How many pieces may be posted now."""
        self._left = min(self._pace.burst, self._left + (now - self._at) * self.per_second)
        self._at = now
        return max(0, int(self._left))

    def spend(self) -> None:
        """One piece is posted; an urgent one may overdraw."""
        self._left -= 1

    def hear(self, now: float, late_s: float) -> None:
        """A timer ran so late. The rate falls by a fifth in a late period and grows by a twentieth in another."""
        self._worst_s = max(self._worst_s, late_s)
        if now - self._reviewed_at < self._pace.review_s:
            return
        factor = 0.8 if self._worst_s > self._pace.late_s else 1.05
        self.per_second = min(self._pace.most_per_second, max(self._pace.least_per_second, self.per_second * factor))
        self._reviewed_at, self._worst_s = now, 0.0


class PostScheduler:
    """Hands out turns to post, in the order of asking. A stream that waits for its turn gathers text meanwhile."""

    def __init__(self, pace: PostRateLimits, clock: Callable[[], float]) -> None:
        self.allowance = TokenBucket(pace, clock())
        self._in_flight = 0
        self._pace = pace
        self._clock = clock
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, *, urgent: bool) -> bool:
        """Wait for a turn, which must be given back; whether there was a wait. A stream's first piece is urgent and
        waits for nothing."""
        if urgent or not (self._queue or not self._free()):
            self._grant()
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._arm()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise
        return True

    def give_back(self) -> None:
        """A POST has ended."""
        self._in_flight -= 1
        if self._queue:
            self._arm()

    def _free(self) -> bool:
        return self._in_flight < self._pace.in_flight and self.allowance.available(self._clock()) > 0

    def _grant(self) -> None:
        self._in_flight += 1
        self.allowance.spend()

    def _arm(self) -> None:
        if self._timer is None:
            due = self._clock() + TICK_S
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._hand_out, due)

    def _hand_out(self, due: float) -> None:
        self._timer = None
        now = self._clock()
        self.allowance.hear(now, now - due)
        while self._queue and self._free():
            turn = self._queue.popleft()
            if not turn.done():
                self._grant()
                turn.set_result(None)
        if self._queue and self._in_flight < self._pace.in_flight:
            self._arm()
