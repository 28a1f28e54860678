"""One engine: running sequences share its rate, further ones wait in their order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush


@dataclass(slots=True)
class Work:
    """A job's demand: prompt and answer in generated tokens of the same time."""

    job: int
    prompt: float
    output: float


class EngineModel:
    """Processor sharing by virtual time: every running sequence advances by the same number of tokens.

    `rates[n]` is each sequence's tokens a second while n run; its length limits how many run. Times are seconds and
    must not decrease from call to call.
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self._rates = rates
        self._waiting: deque[Work] = deque()
        self._marks: list[tuple[float, int, bool]] = []  # virtual time, job, whether it is the end of the answer
        self._running = 0
        self._virtual = 0.0
        self._now = 0.0

    @property
    def running(self) -> int:
        """How many sequences run."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many jobs wait for a sequence to end."""
        return len(self._waiting)

    def add(self, now: float, work: Work) -> None:
        """A job arrives at the engine."""
        self._advance(now)
        if self._running < len(self._rates) - 1:
            self._start(work)
        else:
            self._waiting.append(work)

    def next_mark(self) -> float | None:
        """When the next first token or end of an answer is due if nothing arrives before; None while idle."""
        if not self._marks:
            return None
        return self._now + max(0.0, self._marks[0][0] - self._virtual) / self._rates[self._running]

    def pop_mark(self, now: float) -> tuple[int, bool]:
        """The job whose mark is due, and whether its answer has ended; then the next waiting job starts."""
        self._advance(now)
        due, job, ended = heappop(self._marks)
        self._virtual = max(self._virtual, due)
        if ended:
            self._running -= 1
            if self._waiting:
                self._start(self._waiting.popleft())
        return job, ended

    def jobs(self) -> list[int]:
        """Every job inside, running or waiting: what is lost when the worker is killed."""
        return sorted({*(job for _, job, _ in self._marks), *(work.job for work in self._waiting)})

    def _start(self, work: Work) -> None:
        self._running += 1
        first = self._virtual + work.prompt + min(1.0, work.output)
        end = self._virtual + work.prompt + work.output
        if end > first:
            heappush(self._marks, (first, work.job, False))
        heappush(self._marks, (end, work.job, True))

    def _advance(self, now: float) -> None:
        if self._running:
            self._virtual += (now - self._now) * self._rates[self._running]
        self._now = now
