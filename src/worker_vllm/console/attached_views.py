"""The workers that are attached to the gateway's endpoints, whoever started them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker_vllm.gateway.fleet.interface import WorkerState, WorkerView
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.state.workers import AttachedWorker


def attached_views(endpoints: Mapping[str, EndpointRuntime]) -> Iterator[WorkerView]:
    """One view for each attached worker."""
    for name, runtime in endpoints.items():
        busy = runtime.state.store.busy()
        for worker in runtime.state.fleet.workers():
            held = len(runtime.state.store.held_by(worker.id))
            yield WorkerView(worker.id, name, "queue", state_of(worker, busy=worker.id in busy), jobs=held)


def state_of(worker: AttachedWorker, *, busy: bool) -> WorkerState:
    """The state of a worker by its requests to the gateway."""
    if worker.last_request is None:
        return WorkerState.INITIALIZING
    if worker.unhealthy:
        return WorkerState.UNHEALTHY
    if worker.retired:
        return WorkerState.DRAINING
    return WorkerState.RUNNING if busy else WorkerState.IDLE
