"""Whose stream may post next: a bounded number of POSTs on their way from the whole worker."""

from __future__ import annotations

import asyncio

MOST_IN_FLIGHT = 64


class Turns:
    """Hands out the right to post. A stream that waits gathers more text, so a busy worker posts fewer pieces."""

    def __init__(self, most_in_flight: int = MOST_IN_FLIGHT) -> None:
        self._slots = asyncio.Semaphore(most_in_flight)

    async def pace(self, *, urgent: bool) -> None:
        """Wait until this worker can afford another piece; a stream's first piece is urgent and never waits."""

    async def take(self, *, urgent: bool) -> None:
        """Wait for a place among the POSTs on their way."""
        await self._slots.acquire()

    def give_back(self) -> None:
        """A POST has ended."""
        self._slots.release()
