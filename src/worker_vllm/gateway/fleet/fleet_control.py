"""What can be seen of a fleet of workers, and what can be done to them: the contract behind /console/api/workers.

`FleetControl` is implemented by `local/fleet/`, which starts processes. `AttachedWorkers` is the implementation for a
gateway that started none: it lists the workers that attached themselves, and refuses every operation.

| request | answer |
|---|---|
| GET  /console/api/workers | `FleetReport.to_json()`: the workers, the scaling policy and load, the last events |
| GET  /console/api/workers/ID | one worker of it |
| GET  /console/api/workers/ID/log?after=N | `{"lines": [LogRecord, …], "next": the number for `after`}` |
| POST /console/api/workers/ID/drain | 202: takes no more requests, finishes its own, exits |
| POST /console/api/workers/ID/kill | 202: SIGKILL of the worker and of all its processes |
| POST /console/api/workers/ID/freeze | 202: SIGSTOP of all its processes; its jobs wait again |
| POST /console/api/workers/ID/thaw | 202: SIGCONT of all its processes |

Errors are `{"error": "…"}`: 404 for an unknown worker, 409 for an operation that its state does not permit, 405 for
another method. Times are seconds on the clock of `now`, of which only differences mean something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from worker_vllm.errors import NotFound, RequestError


class WorkerState(StrEnum):
    """The state of a worker, from its start to its exit."""

    INITIALIZING = "initializing"  # started, has not asked for work or reported itself healthy yet: a cold start
    IDLE = "idle"
    RUNNING = "running"
    DRAINING = "draining"
    FROZEN = "frozen"
    UNHEALTHY = "unhealthy"


class WorkerOperation(StrEnum):
    """What can be done to a worker."""

    DRAIN = "drain"
    KILL = "kill"
    FREEZE = "freeze"
    THAW = "thaw"


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """Something that happened to a worker: started, ready, drained, ended, frozen, thawed."""

    at: float
    worker_id: str
    what: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker. `cold_start_s` is the time from its start until it was ready, None until then."""

    id: str
    endpoint: str
    kind: str  # "queue" or "load-balancer"
    state: WorkerState
    phase: str = ""  # of its engine's start
    jobs: int = 0  # jobs or open requests that it holds
    pid: int | None = None  # None: not a process of this gateway
    started_at: float | None = None
    cold_start_s: float | None = None
    idle_s: float | None = None
    url: str = ""  # of a load-balanced worker
    operations: tuple[WorkerOperation, ...] = ()  # those that its state permits now


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line of a worker's log; numbers increase by one, so a gap means lines that are no longer kept."""

    number: int
    at: float
    level: str
    message: str
    engine: bool = False  # written by the engine, not by the worker


@dataclass(frozen=True, slots=True)
class FleetReport:
    """All workers at one moment."""

    now: float
    workers: tuple[WorkerView, ...] = ()
    scaling: tuple[dict[str, Any], ...] = ()  # one for each endpoint that is scaled: policy, load, wanted workers
    events: tuple[FleetEvent, ...] = ()  # the last ones, oldest first

    def to_json(self) -> dict[str, Any]:
        """The payload of GET /console/api/workers."""
        return {
            "now": self.now,
            "workers": [asdict(worker) for worker in self.workers],
            "scaling": list(self.scaling),
            "events": [asdict(event) for event in self.events],
        }


class FleetControl(Protocol):
    """A view of the workers, and the operations on them."""

    def report(self) -> FleetReport:
        """All workers now."""

    def log(self, worker_id: str, after: int) -> list[LogRecord]:
        """The kept lines of a worker's log with a number above `after`. Raises NotFound."""

    async def operate(self, worker_id: str, operation: WorkerOperation) -> None:
        """Begin the operation. Raises NotFound for an unknown worker, RequestError 409 in a state that forbids it."""


@dataclass(slots=True)
class AttachedWorkers:
    """Workers that this process did not start; `views` reads them from the endpoints."""

    views: Callable[[], Iterable[WorkerView]] = field(default=lambda: ())
    clock: Callable[[], float] = field(default=lambda: 0.0)

    def report(self) -> FleetReport:
        """The workers that are attached now."""
        return FleetReport(self.clock(), tuple(self.views()))

    def log(self, worker_id: str, after: int) -> list[LogRecord]:
        """Nothing: such a worker logs elsewhere. Raises NotFound."""
        self._check_known(worker_id)
        return []

    async def operate(self, worker_id: str, operation: WorkerOperation) -> None:
        """Refuse. Raises NotFound for an unknown worker, RequestError 409 for any other."""
        self._check_known(worker_id)
        raise RequestError(
            f'worker "{worker_id}" is not a process of this gateway: {operation} it where it runs', status=409
        )

    def _check_known(self, worker_id: str) -> None:
        if all(view.id != worker_id for view in self.views()):
            raise unknown_worker(worker_id)


def unknown_worker(worker_id: str) -> NotFound:
    """The error for a worker that is not in the report."""
    return NotFound(f'worker "{worker_id}": not known here; GET /console/api/workers lists the workers')
