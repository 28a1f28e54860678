"""How many jobs this worker may hold: a pure policy over what the engine reports."""

from __future__ import annotations


class Admission:
    """At most `max_concurrency` jobs at once."""

    def __init__(self, max_concurrency: int) -> None:
        self.max_concurrency = max_concurrency

    def free(self, held: int) -> int:
        """How many more jobs may be taken now."""
        return max(0, self.max_concurrency - held)
