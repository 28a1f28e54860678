"""The workers that this process started, as a `FleetControl`: state, log, and operations on their processes."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from worker_vllm.errors import RequestError
from worker_vllm.gateway.fleet.interface import (
    FleetEvent,
    FleetReport,
    LogRecord,
    Operation,
    WorkerState,
    WorkerView,
    unknown_worker,
)
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.local.start_progress import read_line
from worker_vllm.local.worker_log import STARTING, LogTail
from worker_vllm.local.worker_processes import WorkerSlot

KEPT_EVENTS = 200
READY = "the engine is ready"
CAUSES = {
    Operation.DRAIN: "it was drained on request",
    Operation.KILL: "it was killed on request",
}


@dataclass(slots=True)
class SlotWorker:
    """One worker process of a slot."""

    id: str
    endpoint: str
    runtime: EndpointRuntime
    slot: WorkerSlot
    started_at: float
    phase: str = STARTING
    ready_at: float | None = None
    draining: bool = False
    frozen: bool = False
    ended_by: str = ""  # the operation that was asked to end it
    log: LogTail = field(default_factory=LogTail)


class SlotFleet:
    """Follows slots by their callbacks: `started`, `line`, `ended`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._workers: dict[str, SlotWorker] = {}
        self._events: deque[FleetEvent] = deque(maxlen=KEPT_EVENTS)

    def started(self, worker_id: str, endpoint: str, runtime: EndpointRuntime, slot: WorkerSlot) -> None:
        """A slot has started a process."""
        self._workers[worker_id] = SlotWorker(worker_id, endpoint, runtime, slot, self._clock())
        self._tell(worker_id, "started")

    def line(self, worker_id: str, text: str) -> None:
        """A process has logged a line."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        line = read_line(text)
        worker.log.add(line, self._clock())
        if line.phase:
            worker.phase = line.phase
            if line.phase == READY and worker.ready_at is None:
                worker.ready_at = self._clock()

    def ended(self, worker_id: str, code: int) -> bool:
        """A process has ended; returns whether an operation had asked for it."""
        worker = self._workers.pop(worker_id, None)
        asked = worker.ended_by if worker else ""
        self._tell(worker_id, "ended", asked or f"its process ended with status {code}")
        return bool(asked)

    def report(self) -> FleetReport:
        """All workers now."""
        return FleetReport(self._clock(), tuple(map(self._view, self._workers.values())), (), tuple(self._events))

    def log(self, worker_id: str, after: int) -> list[LogRecord]:
        """The kept lines of a worker's log with a number above `after`. Raises NotFound."""
        return self._worker(worker_id).log.after(after)

    async def operate(self, worker_id: str, operation: Operation) -> None:
        """Begin the operation. Raises NotFound for an unknown worker, RequestError 409 in a state that forbids it."""
        worker = self._worker(worker_id)
        if operation not in self._operations(worker):
            raise RequestError(
                f'worker "{worker_id}" is {self._state(worker)}: it cannot {operation} now', status=409
            )
        worker.ended_by = CAUSES.get(operation, worker.ended_by)
        match operation:
            case Operation.DRAIN:
                worker.draining = True
                worker.slot.signal(signal.SIGTERM)
            case Operation.KILL:
                worker.slot.signal_group(signal.SIGKILL)
            case Operation.FREEZE:
                worker.frozen = True
                worker.slot.signal_group(signal.SIGSTOP)
                self._tell(worker_id, "frozen", "on request")
            case Operation.THAW:
                worker.frozen = False
                worker.slot.signal_group(signal.SIGCONT)
                self._tell(worker_id, "thawed", "on request")

    def _worker(self, worker_id: str) -> SlotWorker:
        worker = self._workers.get(worker_id)
        if worker is None:
            raise unknown_worker(worker_id)
        return worker

    def _view(self, worker: SlotWorker) -> WorkerView:
        state = self._state(worker)
        held = len(worker.runtime.state.store.held_by(worker.id))
        cold_start_s = None if worker.ready_at is None else worker.ready_at - worker.started_at
        return WorkerView(
            worker.id,
            worker.endpoint,
            "queue",
            state,
            worker.phase,
            held,
            worker.slot.pid,
            worker.started_at,
            cold_start_s,
            operations=self._operations(worker),
        )

    def _state(self, worker: SlotWorker) -> WorkerState:
        if worker.frozen:
            return WorkerState.FROZEN
        if worker.draining:
            return WorkerState.DRAINING
        attached = next((one for one in worker.runtime.state.fleet.workers() if one.id == worker.id), None)
        if attached is None or attached.last_request is None:
            return WorkerState.INITIALIZING
        if attached.unhealthy:
            return WorkerState.UNHEALTHY
        return WorkerState.RUNNING if worker.id in worker.runtime.state.store.busy() else WorkerState.IDLE

    def _operations(self, worker: SlotWorker) -> tuple[Operation, ...]:
        if worker.frozen:
            return (Operation.THAW, Operation.KILL)
        if worker.draining:
            return (Operation.KILL,)
        return (Operation.DRAIN, Operation.FREEZE, Operation.KILL)

    def _tell(self, worker_id: str, what: str, cause: str = "") -> None:
        self._events.append(FleetEvent(self._clock(), worker_id, what, cause))
