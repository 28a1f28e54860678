"""The workers as the page shows them: the fleet's view, with the phases of each start and what ended before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.errors import NotFound
from worker_vllm.gateway.fleet.fleet_control import FleetControl, FleetEvent, LogRecord, WorkerView
from worker_vllm.local.start_progress import LogLine

STARTING = "starting the worker"


@dataclass(slots=True)
class PhaseTracker:
    """The phases of one worker's start, with the times at which they began, read from its log."""

    phases: list[tuple[str, float]] = field(default_factory=list)
    read: int = 0  # the number of the last record that was read

    def add(self, record: LogRecord) -> None:
        """Read the next record."""
        self.read = record.number
        phase = LogLine(record.level, record.message, record.engine).phase
        if phase and all(name != phase for name, _ in self.phases):
            self.phases.append((phase, record.at))


@dataclass(slots=True)
class WorkerTracks:
    """Follows the logs of the fleets' workers for the phases of their starts."""

    wall: Callable[[float], float]
    _trackers: dict[str, PhaseTracker] = field(default_factory=dict)

    def payload(self, fleet: FleetControl) -> list[dict[str, Any]]:
        """All workers."""
        report = fleet.report()
        for gone in self._trackers.keys() - {view.id for view in report.workers}:
            del self._trackers[gone]
        return [self._worker(fleet, view, report.events) for view in report.workers]

    def _worker(self, fleet: FleetControl, view: WorkerView, events: Iterable[FleetEvent]) -> dict[str, Any]:
        tracker = self._follow(fleet, view)
        return {
            "id": view.id,
            "endpoint": view.endpoint,
            "kind": view.kind,
            "state": view.state.value,
            "phase": view.phase,
            "held": view.jobs,
            "pid": view.pid,
            "launched": None if view.started_at is None else self.wall(view.started_at),
            "ready": self._ready(view),
            "managed": view.pid is not None,
            "operations": [operation.value for operation in view.operations],
            "phases": [{"name": name, "at": self.wall(at)} for name, at in tracker.phases],
            "restarts": [
                {"at": self.wall(event.at), "cause": f"{event.worker_id} ended: {event.cause}"}
                for event in events
                if event.what == "ended" and slot_of(event.worker_id) == slot_of(view.id)
            ],
        }

    def _ready(self, view: WorkerView) -> float | None:
        if view.started_at is None or view.cold_start_s is None:
            return None
        return self.wall(view.started_at + view.cold_start_s)

    def _follow(self, fleet: FleetControl, view: WorkerView) -> PhaseTracker:
        tracker = self._trackers.setdefault(view.id, PhaseTracker())
        if not tracker.phases and view.started_at is not None:
            tracker.phases.append((STARTING, view.started_at))
        try:
            for record in fleet.log(view.id, tracker.read):
                tracker.add(record)
        except NotFound:  # it has ended since the report
            pass
        return tracker


def slot_of(worker_id: str) -> str:
    """The part of a worker's id that its successors share: `worker-1-2` follows `worker-1`."""
    name, _, last = worker_id.rpartition("-")
    return name if last.isdecimal() and name.rpartition("-")[2].isdecimal() else worker_id
