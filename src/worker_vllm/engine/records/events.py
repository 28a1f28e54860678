"""Events of a supervised engine: a finished start, and a death. `EngineObserver` receives both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from worker_vllm.engine.diagnosis.diagnose import EngineExit
from worker_vllm.engine.diagnosis.types import Diagnosis
from worker_vllm.engine.interface import EngineRequest
from worker_vllm.engine.preflight.start_facts import StartFacts
from worker_vllm.engine.supervision.startup_phases import StartFigures
from worker_vllm.observability.logging import current_job
from worker_vllm.settings.types import EngineSettings


@dataclass(frozen=True, slots=True)
class FinishedStart:
    """A start whose engine is ready; `download_s` is the time until the files were complete."""

    settings: EngineSettings
    facts: StartFacts | None
    phases: tuple[tuple[str, float], ...]
    total_s: float
    figures: StartFigures
    download_s: float | None = None


@dataclass(frozen=True, slots=True)
class RequestInFlight:
    """A request that the engine was working on: the id of its job, where it went, for how long it had run."""

    job_id: str
    path: str
    running_s: float
    body: bytes | None  # with the prompt: it is written only where the operator wants that


@dataclass(frozen=True, slots=True)
class EngineDeath:
    """The end of an engine that nobody asked for."""

    settings: EngineSettings
    facts: StartFacts | None
    engine_exit: EngineExit
    diagnosis: Diagnosis
    healthy_s: float
    in_flight: tuple[RequestInFlight, ...]


class EngineObserver(Protocol):
    """Called in the event loop, so its methods return at once: what takes longer runs elsewhere."""

    @property
    def keeps_bodies(self) -> bool:
        """Whether the bodies of requests in flight are wanted, prompts included."""

    def start_finished(self, start: FinishedStart) -> None:
        """The engine is READY."""

    def engine_died(self, death: EngineDeath) -> None:
        """The engine has exited, and its requests are about to fail."""


class Unobserved:
    """Keeps nothing."""

    keeps_bodies = False

    def start_finished(self, start: FinishedStart) -> None:
        """Do nothing."""

    def engine_died(self, death: EngineDeath) -> None:
        """Do nothing."""


class RequestsInFlight:
    """The requests that the engine works on, each from its sending until its response is read or closed."""

    def __init__(self, *, keep_bodies: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_bodies = keep_bodies
        self._clock = clock
        self._requests: dict[object, tuple[str, str, float, bytes | None]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: EngineRequest) -> Callable[[], None]:
        """Add a request of the current job; returns the function that removes it, which may be called twice."""
        token = object()
        body = request.body if self._keep_bodies else None
        self._requests[token] = (current_job.get() or "", request.path, self._clock(), body)

        def remove() -> None:
            self._requests.pop(token, None)

        return remove

    def snapshot(self) -> tuple[RequestInFlight, ...]:
        """All of them, the oldest first."""
        return tuple(self._of_jobs())

    def _of_jobs(self) -> Iterator[RequestInFlight]:
        now = self._clock()
        for job_id, path, since, body in self._requests.values():
            yield RequestInFlight(job_id, path, now - since, body)
