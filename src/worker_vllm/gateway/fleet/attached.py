"""The workers that attached themselves to a gateway's endpoints, as the workers API shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from worker_vllm.gateway.fleet.fleet_control import WorkerState, WorkerView
from worker_vllm.gateway.state.endpoint import Endpoint


def attached_views(endpoints: Iterable[tuple[str, Endpoint]]) -> Iterator[WorkerView]:
    """One view for each worker that these endpoints, given by name, have heard of."""
    for name, endpoint in endpoints:
        for worker in endpoint.fleet.workers():
            jobs = len(endpoint.store.running_jobs.held_by(worker.id))
            if worker.last_request is None:
                state = WorkerState.INITIALIZING
            elif worker.unhealthy:
                state = WorkerState.UNHEALTHY
            elif worker.retired:
                state = WorkerState.DRAINING
            else:
                state = WorkerState.RUNNING if jobs else WorkerState.IDLE
            yield WorkerView(worker.id, name, "queue", state, jobs=jobs)
