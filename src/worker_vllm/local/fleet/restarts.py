"""The ids of a fleet's workers, and the budget of restarts of each place in it. Pure; the clock is an argument."""

from __future__ import annotations

from collections import Counter, deque

RESTARTS = 3
RESTART_WINDOW_S = 600.0


class Restarts:
    """Counts the processes of each place in the fleet, and those of them that were lost."""

    def __init__(self) -> None:
        self._launches: Counter[int] = Counter()
        self._losses: dict[int, deque[float]] = {}

    def next_id(self, prefix: str, number: int) -> str:
        """A new process has a new id."""
        self._launches[number] += 1
        launch = self._launches[number]
        return f"{prefix}-{number}" if launch == 1 else f"{prefix}-{number}-{launch}"

    def allows(self, number: int, now: float) -> bool:
        """Count a loss; False when it is one too many within RESTART_WINDOW_S."""
        losses = self._losses.setdefault(number, deque(maxlen=RESTARTS))
        if len(losses) == RESTARTS and now - losses[0] < RESTART_WINDOW_S:
            return False
        losses.append(now)
        return True
