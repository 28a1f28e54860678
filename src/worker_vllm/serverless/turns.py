"""Whose stream may post next: few POSTs a second and few on their way, so that a busy worker posts larger pieces."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Pace:
    """How much this worker posts: pieces a second on average and in one burst, and POSTs on their way."""

    per_second: float = 1500.0
    burst: float = 64.0
    in_flight: int = 128


class Allowance:
    """A token bucket: pure arithmetic over the clock it is told."""

    def __init__(self, pace: Pace, now: float) -> None:
        self._pace = pace
        self._left = pace.burst
        self._at = now

    def available(self, now: float) -> int:
        """How many pieces may be posted now."""
        self._left = min(self._pace.burst, self._left + (now - self._at) * self._pace.per_second)
        self._at = now
        return max(0, int(self._left))

    def spend(self) -> None:
        """One piece is posted; an urgent one may overdraw."""
        self._left -= 1


class Turns:
    """Hands out turns to post, in the order of asking. A stream that waits for its turn gathers text meanwhile."""

    def __init__(self, pace: Pace, clock: Callable[[], float]) -> None:
        self._in_flight = 0
        self._pace = pace
        self._clock = clock
        self._allowance = Allowance(pace, clock())
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, *, urgent: bool) -> None:
        """Wait for a turn. An urgent piece, a stream's first, waits for nothing; each turn must be given back."""
        if not urgent and (self._queue or not self._free()):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            self._arm()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give_back()
                raise
            return
        self._grant()

    def give_back(self) -> None:
        """A POST has ended."""
        self._in_flight -= 1
        if self._queue:
            self._arm()

    def _free(self) -> bool:
        return self._in_flight < self._pace.in_flight and self._allowance.available(self._clock()) > 0

    def _grant(self) -> None:
        self._in_flight += 1
        self._allowance.spend()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._hand_out)

    def _hand_out(self) -> None:
        self._timer = None
        while self._queue and self._free():
            turn = self._queue.popleft()
            if not turn.done():
                self._grant()
                turn.set_result(None)
        if self._queue and self._in_flight < self._pace.in_flight:
            self._arm()
