"""How a worker that stops lets its jobs end: phases one after the other, each with a time of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import EngineUnavailable

STOPPED = "the worker was stopped before the job could finish; send it again"


@dataclass(frozen=True, slots=True)
class Ending:
    """Seconds for each phase of a stop; the drain time itself is the operator's.

    A take that is still out may bring jobs, and is waited for (`late_take_s`). Then this side of its connection is
    closed, so that the platform sees that nobody waits, and what it has sent by then is read (`left_take_s`), to its
    end if it has begun (`slow_take_s`). What runs at the end of the drain time is told to end
    and says so in its stream (`last_words_s`, after the platform's slowest accepted piece); its result is delivered
    (`last_results_s`, counted from the end of the last words); then it is spooled. A second signal leaves
    `forced_s` for all of this together.
    """

    late_take_s: float = 2.0
    left_take_s: float = 1.0
    slow_take_s: float = 10.0
    last_words_s: float = 5.0
    last_results_s: float = 5.0
    forced_s: float = 1.0


def stopped() -> EngineUnavailable:
    """What a job is told that the stop cut off."""
    return EngineUnavailable(STOPPED)


class Impatience:
    """Whether the operator has asked twice; whoever waits here goes on at once then."""

    def __init__(self) -> None:
        self._forced = asyncio.Event()

    @property
    def forced(self) -> bool:
        """Whether `force` was called."""
        return self._forced.is_set()

    def force(self) -> None:
        """Wait for nothing any more."""
        self._forced.set()

    async def wait(self, what: Coroutine[Any, Any, Any], most_s: float) -> None:
        """Wait for `what`, for so long at most, or until forced."""
        waiting = [asyncio.ensure_future(what), asyncio.ensure_future(self._forced.wait())]
        try:
            await asyncio.wait(waiting, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_all(waiting)


async def end_all(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel these and return when each is over, however it went."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
