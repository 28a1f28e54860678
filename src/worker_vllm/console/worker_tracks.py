"""The workers as the page shows them: a fleet's view, with the phases of each start and what ended before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.errors import NotFound
from worker_vllm.gateway.fleet.interface import FleetControl, FleetEvent, WorkerView
from worker_vllm.local.worker_log import STARTING, PhaseStart, PhaseTracker

READY = ("idle", "running")


@dataclass(slots=True)
class WorkerTracks:
    """Follows the logs of the fleets' workers for the phases of their starts."""

    wall: Callable[[float], float]
    _trackers: dict[str, PhaseTracker] = field(default_factory=dict)

    def payload(self, fleets: Iterable[FleetControl], held: Callable[[str, str], list[str]]) -> list[dict[str, Any]]:
        """All workers, each once: a fleet that started a worker comes before one that only sees it attached.

        `held` returns the ids of the jobs that a worker of an endpoint holds.
        """
        found: dict[str, dict[str, Any]] = {}
        for fleet in fleets:
            report = fleet.report()
            for view in report.workers:
                if view.id not in found:
                    found[view.id] = self._worker(fleet, view, report.events, held)
        for gone in self._trackers.keys() - found.keys():
            del self._trackers[gone]
        return list(found.values())

    def _worker(
        self,
        fleet: FleetControl,
        view: WorkerView,
        events: Iterable[FleetEvent],
        held: Callable[[str, str], list[str]],
    ) -> dict[str, Any]:
        tracker = self._follow(fleet, view)
        return {
            "id": view.id,
            "endpoint": view.endpoint,
            "kind": view.kind,
            "state": view.state.value,
            "phase": view.phase,
            "held": view.jobs,
            "jobs": held(view.endpoint, view.id)[:100],
            "pid": view.pid,
            "launched": None if view.started_at is None else self.wall(view.started_at),
            "ready": self._ready(view),
            "managed": view.pid is not None,
            "operations": [operation.value for operation in view.operations],
            "phases": [{"name": phase.name, "at": self.wall(phase.at)} for phase in tracker.phases],
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
            tracker.phases.append(PhaseStart(STARTING, view.started_at))
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
