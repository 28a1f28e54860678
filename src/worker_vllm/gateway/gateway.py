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
from worker_vllm.gateway.webhooks import Webhooks

EndpointWatcher: TypeAlias = Callable[[str, EndpointRuntime], None]


def new_uuid() -> str:
    """A random id."""
    return str(uuid.uuid4())


class Gateway:
    """Owns the endpoints; an endpoint is created when its name is first used."""

    def __init__(
        self,
        options: GatewayOptions,
        *,
        key: str = "",
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

    @property
    def receive_limits(self) -> ReceiveLimits:
        """The size and time limits for receiving a request."""
        limits, waits = self._options.limits, self._options.waits
        largest = max(limits.run_bytes, limits.runsync_bytes, limits.result_bytes, limits.piece_bytes)
        return ReceiveLimits(largest, waits.head_s, waits.body_s)

    def endpoint(self, name: str) -> EndpointRuntime:
        """Return the endpoint of that name. Raises NotFound when `limits.endpoints` exist already."""
        found = self._endpoints.get(name)
        if found is None:
            if len(self._endpoints) >= self._options.limits.endpoints:
                raise NotFound(f'endpoint "{name}": this gateway already serves {len(self._endpoints)} endpoints')
            found = self._endpoints[name] = EndpointRuntime(self._options, self.clock, self._webhooks)
            for watcher in self._endpoint_watchers:
                watcher(name, found)
        return found

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
        """Close, and cancel pending webhooks."""
        self.close()
        await self._webhooks.close()
