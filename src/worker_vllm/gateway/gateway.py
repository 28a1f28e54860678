"""A gateway: its endpoints, the operations on them, its access rules and its faults."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import TypeAlias

from worker_vllm.errors import NotFound
from worker_vllm.gateway.api.access import Access
from worker_vllm.gateway.api.fault_api import FaultApi
from worker_vllm.gateway.api.jobs_api import JobsApi
from worker_vllm.gateway.api.openai_api import OpenAIApi
from worker_vllm.gateway.api.operation import Operation
from worker_vllm.gateway.api.worker_api import WorkerApi
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import ReceiveLimits
from worker_vllm.gateway.state.endpoint import Endpoint
from worker_vllm.gateway.storage.job_file import CannotStore, StoredState
from worker_vllm.gateway.storage.journal import Journal
from worker_vllm.gateway.storage.rows import read_job
from worker_vllm.gateway.storage.storage import Storage
from worker_vllm.gateway.webhooks import Webhooks

EndpointWatcher: TypeAlias = Callable[[str, EndpointRuntime], None]
IN_MEMORY = Storage()


def new_uuid() -> str:
    """A random id."""
    return str(uuid.uuid4())


class Gateway:
    """Owns the endpoints. Jobs and results that `storage` holds already go on."""

    def __init__(
        self,
        options: GatewayOptions,
        *,
        key: str = "",
        storage: Storage = IN_MEMORY,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_uuid,
    ) -> None:
        self._options = options
        self.access = Access(options, key)
        self.clock = clock
        self._webhooks = Webhooks(options.webhook_pause_s, sort_keys=options.sort_keys)
        self._endpoints: dict[str, EndpointRuntime] = {}
        self._endpoint_watchers: list[EndpointWatcher] = []
        self.operations: tuple[Operation, ...] = (  # the busiest first: they are matched in this order
            *WorkerApi(options).operations,
            *OpenAIApi(options, new_id).operations,
            *JobsApi(options, new_id).operations,
        )
        self.faults = FaultApi() if options.faults else None
        self._storage = storage
        self._journal = None if storage.file is None else Journal(storage.file, clock, time.time)
        if storage.file is not None and self._journal is not None:
            self._restore(storage.file.load())
            self._journal.skip_changes()
        if storage.imported is not None:
            self._restore(storage.imported)

    @property
    def receive_limits(self) -> ReceiveLimits:
        """The size and time limits for receiving a request."""
        limits, waits = self._options.limits, self._options.waits
        largest = max(limits.run_bytes, limits.runsync_bytes, limits.result_bytes, limits.piece_bytes)
        return ReceiveLimits(largest, waits.head_s, waits.body_s)

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run on all endpoints."""
        return sum(found.state.store.queued + found.state.store.running for found in self._endpoints.values())

    def endpoint(self, name: str) -> EndpointRuntime:
        """Return the endpoint of that id. Raises NotFound for an unknown one, or when there are too many."""
        found = self._endpoints.get(name)
        if found is not None:
            return found
        if name not in self._options.endpoint_ids and not self._options.any_endpoint:
            known = ", ".join(self._options.endpoint_ids)
            raise NotFound(f'endpoint "{name}": got an unknown id, expected {known}; or start with --any-endpoint')
        if len(self._endpoints) >= self._options.limits.endpoints:
            raise NotFound(f'endpoint "{name}": this gateway already serves {len(self._endpoints)} endpoints')
        return self._create(name)

    def add_endpoint(self, name: str) -> EndpointRuntime:
        """The endpoint of that id, created when it does not exist: this process starts workers for it."""
        return self._endpoints.get(name) or self._create(name)

    def _restore(self, state: StoredState) -> None:
        """Add what another process has stored. Raises CannotStore for a job that exists already."""
        wall_offset, now = time.time() - self.clock(), self.clock()
        for row in state.jobs:
            endpoint = self._endpoints.get(row[0]) or self._create(row[0])
            if endpoint.state.store.find(row[1]) is not None:
                raise CannotStore(f'job "{row[1]}" exists already: --import needs a gateway without the file\'s jobs')
            endpoint.state.store.restore(read_job(row, wall_offset))
        for name, completed, failed, retried in state.endpoints:
            store = (self._endpoints.get(name) or self._create(name)).state.store
            store.completed, store.failed, store.retried = completed, failed, retried
        intervals = {(name, worker_id): interval_s for name, worker_id, interval_s in state.workers}
        for name, endpoint in self._endpoints.items():
            for worker_id in endpoint.state.store.running_jobs.busy():
                pings, interval_s = (name, worker_id) in intervals, intervals.get((name, worker_id))
                endpoint.state.fleet.restore(worker_id, now, pings=pings, interval_s=interval_s)

    def start(self) -> None:
        """Set the timers of restored jobs and send their webhooks, in the running event loop."""
        for endpoint in self._endpoints.values():
            endpoint.perform(endpoint.state.webhooks_due())

    def _create(self, name: str) -> EndpointRuntime:
        created = EndpointRuntime(self._options, self.clock, self._webhooks, self._journal)
        self._endpoints[name] = created
        if self._journal is not None:
            self._journal.follow(name, created.state)
        for watcher in self._endpoint_watchers:
            watcher(name, created)
        return created

    def watch_endpoints(self, watcher: EndpointWatcher) -> None:
        """Call `watcher` with the name of every endpoint: those that exist now, later ones when they are created."""
        self._endpoint_watchers.append(watcher)
        for name, endpoint in self._endpoints.items():
            watcher(name, endpoint)

    def states(self) -> Iterator[tuple[str, Endpoint]]:
        """The endpoints' states by name."""
        for name, runtime in self._endpoints.items():
            yield name, runtime.state

    def close(self) -> None:
        """Answer every held request now; called when the server stops."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    async def aclose(self) -> None:
        """Close, cancel pending webhooks, and write what is not stored yet."""
        self.close()
        await self._webhooks.close()
        if self._journal is not None:
            await self._journal.close(self._storage.export_to)
