"""The interface between a fleet and the endpoint that its workers serve, and its two implementations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from worker_vllm.gateway.fleet.scaling import Load
from worker_vllm.gateway.load_balancing.balancer import LoadBalancer
from worker_vllm.gateway.load_balancing.pool import PoolHealth, WorkerAddress
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.local.launch_config import http_variables, queue_variables
from worker_vllm.local.metrics_ports import MetricsPorts


class FleetEndpoint(Protocol):
    """An endpoint as its fleet sees it; worker ids that it does not know are idle, not ready and not unhealthy."""

    name: str
    kind: str

    def variables(self, worker_id: str) -> Mapping[str, str]:
        """The environment variables by which a new worker finds this endpoint."""

    def load(self) -> Load:
        """The requests that wait and run."""

    def started(self, worker_id: str) -> str:
        """Expect a worker whose process is being started; its address, empty where it has none."""

    def ended(self, worker_id: str) -> None:
        """Forget a worker whose process has ended; its jobs wait again."""

    def ready(self, worker_id: str) -> bool:
        """Whether it has asked for work, or reported itself healthy."""

    def unhealthy(self, worker_id: str) -> bool:
        """Whether it reports itself unhealthy."""

    def jobs(self, worker_id: str) -> int:
        """How many jobs or requests it holds."""

    def idle_since(self, worker_id: str) -> float | None:
        """Since when it is ready without a job, None while it is not."""

    def drain(self, worker_id: str) -> None:
        """Give the worker no further job or request."""

    async def drained(self, worker_id: str) -> None:
        """Return once the worker may get SIGTERM."""

    def freeze(self, worker_id: str) -> None:
        """Give the worker no job or request while it is stopped."""

    def thaw(self, worker_id: str) -> None:
        """Give the continued worker jobs or requests again."""


class QueueEndpoint:
    """An endpoint whose workers take jobs."""

    kind = "queue"

    def __init__(
        self, name: str, runtime: EndpointRuntime, base_url: str, key: str, metrics: MetricsPorts | None = None
    ) -> None:
        self.name = name
        self._metrics = metrics
        self._runtime = runtime
        self._base_url = base_url
        self._key = key

    def variables(self, worker_id: str) -> Mapping[str, str]:
        """RunPod's variables of a worker of a queue, and an address for its metrics."""
        metrics = {} if self._metrics is None else self._metrics.variables(worker_id)
        return {**queue_variables(f"{self._base_url}/v2/{self.name}", worker_id, self._key), **metrics}

    def load(self) -> Load:
        """The queue without jobs of low priority, the running jobs, and how long the next one waits."""
        store = self._runtime.state.store
        waiting = store.waiting_since()
        return Load(len(waiting), store.running, self._runtime.clock() - waiting[0] if waiting else 0.0)

    def started(self, worker_id: str) -> str:
        """Register the worker; an entry with its id in a stored state is an earlier process's, and is removed."""
        if self._runtime.state.fleet.find(worker_id) is not None:
            self._runtime.lose(worker_id)
        self._runtime.state.fleet.expect(worker_id)
        return ""

    def ended(self, worker_id: str) -> None:
        """Requeue its jobs."""
        self._runtime.lose(worker_id)
        if self._metrics is not None:
            self._metrics.remove(worker_id)

    def ready(self, worker_id: str) -> bool:
        """Whether it has sent its first request, which is a take."""
        worker = self._runtime.state.fleet.find(worker_id)
        return worker is not None and worker.last_request is not None

    def unhealthy(self, worker_id: str) -> bool:
        """Whether its last ping reported a fault."""
        worker = self._runtime.state.fleet.find(worker_id)
        return worker is not None and worker.unhealthy

    def jobs(self, worker_id: str) -> int:
        """The number of its unfinished jobs."""
        return len(self._runtime.state.store.running_jobs.held_by(worker_id))

    def idle_since(self, worker_id: str) -> float | None:
        """The time of its last job, else of its first request."""
        worker = self._runtime.state.fleet.find(worker_id)
        if worker is None or worker.last_request is None or self.jobs(worker_id):
            return None
        return worker.first_request if worker.last_job is None else worker.last_job

    def drain(self, worker_id: str) -> None:
        """Give it no further job: an open take is answered without one."""
        self._runtime.retire(worker_id)

    async def drained(self, worker_id: str) -> None:
        """Return at once: at SIGTERM a worker finishes its jobs itself."""

    def freeze(self, worker_id: str) -> None:
        """Queue its jobs again, and close its open take, which would receive the next job."""
        self._runtime.lose(worker_id)

    def thaw(self, worker_id: str) -> None:
        """Register it like a new worker."""
        self._runtime.state.fleet.expect(worker_id)


class BalancedEndpoint:
    """An endpoint whose workers serve HTTP behind the load balancer."""

    kind = "load-balancer"

    def __init__(
        self, name: str, balancer: LoadBalancer, health_path: str, metrics: MetricsPorts | None = None
    ) -> None:
        self.name = name
        self._metrics = metrics
        self._balancer = balancer
        self._health_path = health_path
        self._addresses: dict[str, WorkerAddress] = {}

    def variables(self, worker_id: str) -> Mapping[str, str]:
        """PORT, PORT_HEALTH and a key that only the balancer knows, since the port is open to the network.

        Its metrics are on a port of their own, on loopback: its PORT does not serve them.
        """
        variables = http_variables(worker_id, self.name)
        requests, health = (f"http://127.0.0.1:{variables[name]}" for name in ("PORT", "PORT_HEALTH"))
        self._addresses[worker_id] = WorkerAddress(requests, health + self._health_path, variables["API_KEY"])
        return {**variables, **({} if self._metrics is None else self._metrics.variables(worker_id))}

    def load(self) -> Load:
        """The waiting and the open requests."""
        return self._balancer.load()

    def started(self, worker_id: str) -> str:
        """Poll its health path from now on."""
        address = self._addresses.pop(worker_id)
        self._balancer.add(worker_id, address)
        return address.requests

    def ended(self, worker_id: str) -> None:
        """Take it out of the pool."""
        self._balancer.remove(worker_id)
        if self._metrics is not None:
            self._metrics.remove(worker_id)

    def ready(self, worker_id: str) -> bool:
        """Whether its health path answers 200."""
        worker = self._balancer.pool.find(worker_id)
        return worker is not None and worker.health is PoolHealth.READY

    def unhealthy(self, worker_id: str) -> bool:
        """Whether its health path answers neither 200 nor 204."""
        worker = self._balancer.pool.find(worker_id)
        return worker is not None and worker.health is PoolHealth.UNHEALTHY

    def jobs(self, worker_id: str) -> int:
        """The number of its open requests."""
        worker = self._balancer.pool.find(worker_id)
        return 0 if worker is None else worker.open_requests

    def idle_since(self, worker_id: str) -> float | None:
        """The time at which its last request ended."""
        worker = self._balancer.pool.find(worker_id)
        return None if worker is None else worker.idle_since

    def drain(self, worker_id: str) -> None:
        """New requests go to others."""
        self._balancer.drain(worker_id)

    async def drained(self, worker_id: str) -> None:
        """Wait for the end of its open requests."""
        await self._balancer.drained(worker_id)

    def freeze(self, worker_id: str) -> None:
        """New requests go to others; open ones hang until it is thawed."""
        self._balancer.freeze(worker_id)

    def thaw(self, worker_id: str) -> None:
        """It gets requests again once its health path answers."""
        self._balancer.thaw(worker_id)
