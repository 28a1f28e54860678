"""The phases of a worker's stop, and the time limit of each."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import EngineUnavailable

STOPPED = "the worker was stopped before the job could finish; send it again"


@dataclass(frozen=True, slots=True)
class DrainTimeouts:
    """Seconds for each phase of a stop; the drain time itself is a setting of the operator.

    1. An open take may still return jobs: it is waited for (`open_take_s`). Then this side of its connection is
       closed, so that the platform sees that the worker has gone. What the platform had sent by then is read
       (`abandoned_take_s`), to its end if the answer has begun (`slow_take_s`).
    2. Jobs that still run at the end of the drain time are failed, and their streams get a final error event
       (`final_events_s`, which starts after the platform's slowest accepted piece).
    3. Their results are delivered (`final_results_s`, from the end of phase 2), then spooled.

    A second signal leaves `forced_s` for all phases together.
    """

    open_take_s: float = 2.0
    abandoned_take_s: float = 1.0
    slow_take_s: float = 10.0
    final_events_s: float = 5.0
    final_results_s: float = 5.0
    forced_s: float = 1.0


def stopped_error() -> EngineUnavailable:
    """The error of a job that the stop ends before it is finished."""
    return EngineUnavailable(STOPPED)


class ForcedStop:
    """Whether the operator has asked for an immediate stop. Every `wait` returns at once from then on."""

    def __init__(self) -> None:
        self._forced = asyncio.Event()

    @property
    def forced(self) -> bool:
        """Whether `force` was called."""
        return self._forced.is_set()

    def force(self) -> None:
        """End every current and later `wait`."""
        self._forced.set()

    async def wait(self, work: Coroutine[Any, Any, Any], timeout_s: float) -> None:
        """Wait for `work` until it ends, `timeout_s` is over, or the stop is forced; then cancel it."""
        waiting = [asyncio.ensure_future(work), asyncio.ensure_future(self._forced.wait())]
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(waiting)


async def cancel_all(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and return when each has ended; their results and errors are ignored."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
