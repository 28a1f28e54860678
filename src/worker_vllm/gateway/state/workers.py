"""The workers of one endpoint: when each made its last request, and when it counts as lost. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from worker_vllm.gateway.options import FleetPolicy
from worker_vllm.gateway.state.deadlines import Deadlines

UNPINGED_EXPIRY_S = 86_400.0
SUSPENDED_S = 2.0
KEPT_REPORTS = 20  # the newest; a worker that reports most often exits at once


@dataclass(frozen=True, slots=True)
class UnhealthyReport:
    """A fault that a worker has reported in a ping: the check that failed, and the reason."""

    worker: str
    check: str
    reason: str


@dataclass(slots=True)
class AttachedWorker:
    """One worker process; a new process has a new id."""

    id: str
    last_request: float | None = None  # None: expected, no request yet
    pinged: float | None = None
    interval_s: float | None = None
    poll_aborted: bool = False  # the last held poll ended with its connection
    unhealthy: bool = False
    retired: bool = False
    first_request: float = 0.0
    last_job: float | None = None  # when it last took or ended a job
    stops: set[str] = field(default_factory=set)

    @property
    def may_take(self) -> bool:
        """Whether this worker may be given jobs."""
        return not (self.unhealthy or self.retired)


class Workers:
    """Tracks the last request of each worker; missing pings make a worker lost."""

    def __init__(self, policy: FleetPolicy) -> None:
        self._policy = policy
        self._workers: dict[str, AttachedWorker] = {}
        self.deadlines = Deadlines()
        self.changed: dict[str, None] | None = None  # ids to be stored, None where nothing is
        self.reports: deque[UnhealthyReport] = deque(maxlen=KEPT_REPORTS)  # also of workers that are gone

    def workers(self) -> list[AttachedWorker]:
        """The workers that are expected or alive."""
        return list(self._workers.values())

    def expect(self, worker_id: str) -> None:
        """Add a started worker; it counts as initializing until its first request."""
        self._workers.setdefault(worker_id, AttachedWorker(worker_id))

    def find(self, worker_id: str) -> AttachedWorker | None:
        """The worker, None for an unknown id."""
        return self._workers.get(worker_id)

    def interval_s(self, worker_id: str) -> float | None:
        """The worker's ping interval as far as it is known."""
        worker = self._workers.get(worker_id)
        return None if worker is None else worker.interval_s

    def restore(self, worker_id: str, now: float, *, pings: bool, interval_s: float | None) -> None:
        """Add a worker that had jobs when the gateway's last process ended, which broke off its polls too."""
        worker = AttachedWorker(worker_id, last_request=now, pinged=now if pings else None, interval_s=interval_s)
        worker.poll_aborted = not pings
        self._workers[worker_id] = worker
        self._arm(worker)

    def is_retired(self, worker_id: str) -> bool:
        """Whether this worker asked to be replaced."""
        worker = self._workers.get(worker_id)
        return worker is not None and worker.retired

    def forget(self, worker_id: str) -> None:
        """Remove this worker."""
        self._workers.pop(worker_id, None)
        self.deadlines.remove(worker_id)

    def touch(self, worker_id: str, now: float) -> AttachedWorker:
        """Record a request of the worker; adds an unknown one."""
        worker = self._workers.get(worker_id)
        if worker is None:
            worker = self._workers[worker_id] = AttachedWorker(worker_id)
        if worker.last_request is None:
            worker.first_request = now
        worker.last_request = now
        self._arm(worker)
        return worker

    def ping(self, worker_id: str, healthy: bool, now: float) -> AttachedWorker:
        """Record a ping of the worker."""
        worker = self.touch(worker_id, now)
        if self.changed is not None and worker.interval_s is None:
            self.changed[worker_id] = None
        if worker.pinged is not None and now > worker.pinged:
            worker.interval_s = now - worker.pinged
        worker.pinged = now
        worker.unhealthy = not healthy
        self._arm(worker)
        return worker

    def poll(self, worker_id: str, now: float, *, poll_aborted: bool) -> None:
        """Record that a held poll of this worker started, or was aborted with its connection."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.poll_aborted = poll_aborted
            if not poll_aborted:
                worker.last_request = now
            self._arm(worker)

    def stop(self, worker_id: str, job_id: str) -> None:
        """Add a stop for a job of this worker."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.stops.add(job_id)

    def has_stops(self, worker_id: str) -> bool:
        """Whether there are stops for this worker."""
        worker = self._workers.get(worker_id)
        return worker is not None and bool(worker.stops)

    def take_stops(self, worker_id: str) -> list[str]:
        """Remove and return the ids of the jobs that this worker must stop."""
        worker = self._workers.get(worker_id)
        if worker is None or not worker.stops:
            return []
        stops = sorted(worker.stops)
        worker.stops.clear()
        return stops

    def lost(self, now: float) -> list[str]:
        """Remove and return the workers without a request for too long.

        When the first of them is overdue by more than SUSPENDED_S, this process itself was suspended: then every
        worker's time starts anew.
        """
        due = self.deadlines.next()
        if due is not None and now - due > SUSPENDED_S:
            for worker in self._workers.values():
                if worker.last_request is not None:
                    worker.last_request = now
                    self._arm(worker)
        lost = self.deadlines.due(now)
        for worker_id in lost:
            del self._workers[worker_id]
        return lost

    def counts(self, busy: Collection[str]) -> dict[str, int]:
        """The number of workers by RunPod's states; `busy` are the ids of those with jobs."""
        active = [worker for worker in self._workers.values() if worker.last_request is not None]
        able = [worker for worker in active if worker.may_take]
        running = sum(worker.id in busy for worker in able)
        return {
            "idle": len(able) - running,
            "initializing": len(self._workers) - len(active),
            "ready": len(able),
            "running": running,
            "throttled": 0,
            "unhealthy": sum(worker.unhealthy for worker in active),
        }

    def _arm(self, worker: AttachedWorker) -> None:
        """Set the worker's deadline: without any ping, a long one while its connection is open."""
        if worker.last_request is None:
            return
        if worker.pinged is None and not worker.poll_aborted:
            self.deadlines.set(worker.id, worker.last_request + UNPINGED_EXPIRY_S)
            return
        interval = self._policy.ping_interval_s if worker.interval_s is None else worker.interval_s
        silence = max(self._policy.least_silence_s, self._policy.missed_pings * interval)
        if worker.poll_aborted and worker.pinged is not None:
            silence = min(silence, 0.5 + 1.5 * interval)
        self.deadlines.set(worker.id, worker.last_request + silence)
