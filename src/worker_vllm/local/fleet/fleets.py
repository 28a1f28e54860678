"""All fleets of this process as one `FleetControl`, for the workers API."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker_vllm.gateway.fleet.fleet_control import (
    AttachedWorkers,
    FleetReport,
    LogRecord,
    WorkerOperation,
    unknown_worker,
)
from worker_vllm.local.fleet.fleet import Fleet


class Fleets:
    """Its own workers, then those that attached themselves."""

    def __init__(self, fleets: Sequence[Fleet], attached: AttachedWorkers, clock: Callable[[], float]) -> None:
        self._fleets = fleets
        self._attached = attached
        self._clock = clock

    def report(self) -> FleetReport:
        """All workers now."""
        own = [view for fleet in self._fleets for view in fleet.views()]
        ids = {view.id for view in own}
        others = [view for view in self._attached.report().workers if view.id not in ids]
        events = sorted((event for fleet in self._fleets for event in fleet.events), key=lambda event: event.at)
        scaling = tuple(fleet.scaling() for fleet in self._fleets)
        return FleetReport(self._clock(), (*own, *others), scaling, tuple(events))

    def log(self, worker_id: str, after: int) -> list[LogRecord]:
        """The lines of a worker's log that are new. Raises NotFound."""
        for fleet in self._fleets:
            if (member := fleet.find(worker_id)) is not None:
                return member.log.after(after)
        return self._attached.log(worker_id, after)

    async def operate(self, worker_id: str, operation: WorkerOperation) -> None:
        """Begin an operation. Raises NotFound, RequestError 409."""
        for fleet in self._fleets:
            if fleet.find(worker_id) is not None:
                return fleet.operate(worker_id, operation)
        if any(view.id == worker_id for view in self._attached.report().workers):
            return await self._attached.operate(worker_id, operation)
        raise unknown_worker(worker_id)
