"""The workers of one load-balancing endpoint: their health, their open requests, and which one is next. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker_vllm.gateway.load_balancing.affinity import Affinity

HEALTHY = 200
INITIALIZING = 204


class PoolHealth(StrEnum):
    """The last answer of the health path: 204, 200, or anything else."""

    INITIALIZING = "initializing"
    READY = "ready"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """Where a worker takes requests, where it reports its health, and the key it asks for, empty for none."""

    requests: str  # http://host:port
    health: str  # http://host:port/path
    key: str = ""


@dataclass(slots=True)
class PooledWorker:
    """One worker. `used` orders workers by their last request."""

    id: str
    address: WorkerAddress
    health: PoolHealth = PoolHealth.INITIALIZING
    reached: bool = False  # its health path has answered at least once
    probed: int = 0  # number of the probe whose answer counts
    draining: bool = False
    frozen: bool = False
    open_requests: int = 0
    used: int = 0
    idle_since: float | None = None  # since when it is ready without a request

    @property
    def serves(self) -> bool:
        """Whether it gets requests."""
        return self.health is PoolHealth.READY and not self.draining and not self.frozen


class WorkerPool:
    """Chooses by least connections; of equals, the one that waited longest for a request."""

    def __init__(self) -> None:
        self._workers: dict[str, PooledWorker] = {}
        self._uses = 0

    def workers(self) -> list[PooledWorker]:
        """All workers, in the order in which they were added."""
        return list(self._workers.values())

    def find(self, worker_id: str) -> PooledWorker | None:
        """The worker, None for an unknown id."""
        return self._workers.get(worker_id)

    def add(self, worker_id: str, address: WorkerAddress) -> None:
        """Add a started worker; it initializes until its health path answers 200."""
        self._workers[worker_id] = PooledWorker(worker_id, address)

    def remove(self, worker_id: str) -> None:
        """Remove a worker that has ended."""
        self._workers.pop(worker_id, None)

    def record_health(self, worker_id: str, status: int | None, now: float) -> None:
        """Apply an answer of the health path; None is no answer, which a worker that never answered may give."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        worker.reached = worker.reached or status is not None
        if status == HEALTHY:
            worker.health = PoolHealth.READY
        elif status == INITIALIZING or not worker.reached:
            worker.health = PoolHealth.INITIALIZING
        else:
            worker.health = PoolHealth.UNHEALTHY
        self._set_idle(worker, now)

    def choose(self, affinity: Affinity) -> PooledWorker | None:
        """The worker for a request, None while there is none."""
        ready = [worker for worker in self._workers.values() if worker.serves]
        wanted = next((worker for worker in ready if worker.id == affinity.worker_id), None)
        if wanted is not None or affinity.strict:
            return wanted
        return min(ready, key=lambda worker: (worker.open_requests, worker.used), default=None)

    def open(self, worker: PooledWorker) -> None:
        """Count a request that goes to this worker."""
        self._uses += 1
        worker.used = self._uses
        worker.open_requests += 1
        worker.idle_since = None

    def close(self, worker: PooledWorker, now: float) -> None:
        """Count the end of a request."""
        worker.open_requests -= 1
        self._set_idle(worker, now)

    def _set_idle(self, worker: PooledWorker, now: float) -> None:
        if worker.open_requests or worker.health is not PoolHealth.READY:
            worker.idle_since = None
        elif worker.idle_since is None:
            worker.idle_since = now
