"""A priority queue of deadlines, one per key; memory is proportional to the number of keys."""

from __future__ import annotations

import heapq


class Deadlines:
    """The last `set` of a key replaces earlier ones; times are seconds of the caller's clock."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, key: str, when: float) -> None:
        """Set the deadline of a key."""
        if self._at.get(key) == when:
            return
        self._at[key] = when
        heapq.heappush(self._heap, (when, key))
        if len(self._heap) > 64 + 4 * len(self._at):
            self._heap = [(at, key) for key, at in self._at.items()]
            heapq.heapify(self._heap)

    def remove(self, key: str) -> None:
        """Remove the deadline of a key."""
        self._at.pop(key, None)

    def next(self) -> float | None:
        """The earliest deadline, None without keys."""
        while self._heap:
            when, key = self._heap[0]
            if self._at.get(key) == when:
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[str]:
        """Remove and return the keys whose deadline has passed, earliest first."""
        keys = []
        while (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[1]
            del self._at[key]
            keys.append(key)
        return keys
