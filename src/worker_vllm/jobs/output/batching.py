"""How many tokens go into one streamed item: min, then times the growth factor, up to max.

For the default settings 1, 3, 9, 27, 50, 50 … (the specification's "Streaming Batch Size Settings").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """The sizes that a stream asks for; a size that cannot grow stays `max` for ever."""

    max_size: int = 50
    min_size: int = 1
    growth: float = 3.0

    @property
    def grows(self) -> bool:
        """Whether the size starts small at all."""
        return self.growth > 1 and self.min_size >= 1 and self.max_size > self.min_size


class BatchCounter:
    """Counts tokens and says when an item is full. One counter serves all sequences of a job."""

    __slots__ = ("_policy", "_size", "count")

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._size: float = policy.min_size if policy.grows else policy.max_size
        self.count = 0

    def add(self, tokens: int) -> bool:
        """Count `tokens` more; True when the item is full and must be sent, which starts the next one."""
        self.count += tokens
        if self.count < self._size:
            return False
        self.count = 0
        if self._policy.grows:
            self._size = min(self._size * self._policy.growth, self._policy.max_size)
        return True
