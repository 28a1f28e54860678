"""How many jobs this worker may hold. Pure policy over the engine's reported load: jobs that would only wait in this
worker's engine are left for other workers."""

from __future__ import annotations

import math
from collections.abc import Callable

from worker_vllm.engine.interface import EngineLoad
from worker_vllm.observability import metric_names as names
from worker_vllm.observability.metric_names import Metric

FIRST_WINDOW = 64  # where the engine's capacity is not known; vLLM runs hundreds of sequences at once by default
KV_FULL = 0.95
SPARE_SHARE = 8  # one job in eight may wait inside the engine, so that it never idles for want of the next one


class Admission:
    """Counts the jobs of this worker and limits them to a window that follows the engine's load.

    `max_jobs` is the operator's cap. `capacity` is how many sequences the engine runs at once, where that is known:
    the first take never asks for more, and the window never grows beyond it and the spare. Two groups of jobs fill
    the window: those that the engine works on, and those whose result the platform has not accepted for a while, so
    that a worker that cannot deliver its results stops taking jobs.
    """

    def __init__(self, max_jobs: int, capacity: int | None = None) -> None:
        self.open = True  # while the engine can serve
        self.window = min(max_jobs, FIRST_WINDOW if capacity is None else capacity)
        self._running: set[str] = set()
        self._undelivered: set[str] = set()
        self._shown: EngineLoad | None = None
        self._max = max_jobs if capacity is None else min(max_jobs, capacity + _spare(capacity))

    @property
    def running(self) -> int:
        """How many jobs the engine works on."""
        return len(self._running)

    @property
    def undelivered(self) -> int:
        """How many jobs have a result that the platform has not accepted for a while."""
        return len(self._undelivered)

    @property
    def free(self) -> int:
        """How many more jobs may be taken."""
        return max(0, self.window - self.running - self.undelivered) if self.open else 0

    @property
    def wants_report(self) -> bool:
        """Whether the window is full but below its maximum, so that the engine's load decides."""
        return self.running >= self.window and self.window < self._max

    def acquire(self, job_id: str) -> None:
        """A job starts to occupy the engine."""
        self._running.add(job_id)

    def release(self, job_id: str) -> None:
        """The engine's work on a job is over. A second call for the same job does nothing."""
        self._running.discard(job_id)

    def acquire_undelivered(self, job_id: str) -> None:
        """The platform has not accepted a job's result for a while: it takes a slot again."""
        self._undelivered.add(job_id)

    def release_undelivered(self, job_id: str) -> None:
        """A job's result needs no slot any more. Called for every job, also where it never had one."""
        self._undelivered.discard(job_id)

    def update(self, load: EngineLoad | None) -> None:
        """Move the window by the engine's load; None means that the engine reports none, and the cap applies."""
        self.show(load)
        if load is None:
            self.window = self._max
        elif load.waiting > 0 or load.kv_used >= KV_FULL:
            running = max(1, self.running - load.waiting)
            self.window = min(self._max, running + _spare(running))
        elif self.running >= self.window:
            self.window = min(self._max, 2 * self.running)

    def refused(self) -> None:
        """The engine's own queue was full and it refused a job: narrow the window."""
        self.window = min(self.window, max(1, self.running - 1))

    def show(self, load: EngineLoad | None) -> None:
        """Have the gauges show this report, which decides nothing: reports that decide come only when it matters."""
        if load is not None:
            self._shown = load

    def gauges(self) -> dict[Metric, Callable[[], float]]:
        """The window, the jobs in it, and the engine's last reported load (NaN before the first report)."""
        return {
            names.JOBS_HELD: lambda: self.running,
            names.JOBS_WINDOW: lambda: self.window,
            names.ENGINE_RUNNING: self._reported("running"),
            names.ENGINE_WAITING: self._reported("waiting"),
            names.ENGINE_KV_USED: self._reported("kv_used"),
        }

    def _reported(self, name: str) -> Callable[[], float]:
        return lambda: math.nan if self._shown is None else float(getattr(self._shown, name))


def _spare(running: int) -> int:
    return max(1, running // SPARE_SHARE)
