"""Sizes of streamed items in tokens: from the minimum, multiplied by the growth factor each time, to the maximum.

The default settings give 1, 3, 9, 27, 50, 50 … (the specification's "Streaming Batch Size Settings").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """The batch sizes of one stream. Where the size cannot grow, every item has `max_size`.

    The defaults are those of `JobSettings` in `settings/types.py`.
    """

    max_size: int
    min_size: int
    growth: float

    @property
    def grows(self) -> bool:
        """Whether the first item is smaller than `max_size`."""
        return self.growth > 1 and self.min_size >= 1 and self.max_size > self.min_size


class BatchCounter:
    """Counts tokens and reports when an item is full. One counter serves all sequences of a job."""

    __slots__ = ("_count", "_policy", "_size")

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._size: float = policy.min_size if policy.grows else policy.max_size
        self._count = 0

    def add(self, tokens: int) -> bool:
        """Count `tokens` more. Returns True when the item is full and must be sent; the next one starts empty."""
        self._count += tokens
        if self._count < self._size:
            return False
        self._count = 0
        if self._policy.grows:
            self._size = min(self._size * self._policy.growth, self._policy.max_size)
        return True
