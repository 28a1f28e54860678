"""One worker: its cold start, how many jobs it may hold, its engine, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from worker_vllm.engine.interface import EngineLoad
from worker_vllm.gateway.fleet.scaling import ScalableWorker
from worker_vllm.serverless.intake.admission import Admission
from worker_vllm.simulation.engine_model import EngineModel, Work


class JobLimit(Protocol):
    """How many more jobs a worker may take."""

    def free(self, engine: EngineModel, held: int) -> int:
        """Free slots of a worker that holds so many jobs."""


class ConstantLimit:
    """Always the same number of jobs, as a fixed concurrency setting gives."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def free(self, engine: EngineModel, held: int) -> int:
        """What is left of the constant."""
        return self._jobs - held


class WindowLimit:
    """This worker's own admission: the code of `serverless/intake`, fed with the simulated engine's load."""

    def __init__(self, max_jobs: int, capacity: int | None) -> None:
        self._admission = Admission(max_jobs, capacity)
        self._names: list[str] = []

    def free(self, engine: EngineModel, held: int) -> int:
        """What is left of the window after the engine's load has moved it."""
        while len(self._names) < held:
            self._names.append(str(len(self._names)))
            self._admission.acquire(self._names[-1])
        while len(self._names) > held:
            self._admission.release(self._names.pop())
        if self._admission.wants_report or engine.waiting:
            self._admission.update(EngineLoad(engine.running, engine.waiting, 0.0))
        return self._admission.free


Limit = Callable[[], JobLimit]


class WorkerModel:
    """A worker from its start to its end. Times are seconds; its cold start is billed too."""

    def __init__(self, name: str, started_at: float, ready_at: float, engine: EngineModel, limit: JobLimit) -> None:
        self.name = name
        self.ready_at = ready_at
        self.engine = engine
        self.idle_since = ready_at
        self.version = 0  # of the mark that is scheduled for this engine; older marks in the event list are void
        self.held = 0
        self._started_at = started_at
        self._ended_at: float | None = None
        self._limit = limit

    @property
    def alive(self) -> bool:
        """Whether it has not been stopped."""
        return self._ended_at is None

    def free(self, now: float) -> int:
        """How many jobs it would take at present."""
        return max(0, self._limit.free(self.engine, self.held)) if self.alive and now >= self.ready_at else 0

    def take(self, now: float, work: Work) -> None:
        """A job starts here."""
        self.held += 1
        self.engine.add(now, work)

    def release(self, now: float) -> None:
        """A job's answer has been delivered."""
        self.held -= 1
        if not self.held:
            self.idle_since = now

    def scalable(self, now: float) -> ScalableWorker:
        """The worker in the form that the scaler takes."""
        idle = not self.held and now >= self.ready_at
        return ScalableWorker(self.name, self.idle_since if idle else None)

    def stop(self, now: float) -> None:
        """The platform ends it."""
        self._ended_at = now

    def billed_s(self, until: float) -> float:
        """Seconds that are paid for."""
        return (until if self._ended_at is None else self._ended_at) - self._started_at
