"""A gateway with a fleet behind it: an endpoint, its workers, and the routes that show and reach them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.routing import Mount

from worker_vllm.gateway.fleet.attached import attached_views
from worker_vllm.gateway.fleet.fleet_control import AttachedWorkers
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.load_balancing.balanced_endpoints import BalancedEndpoints
from worker_vllm.gateway.load_balancing.balancer import LoadBalancer
from worker_vllm.gateway.load_balancing.forwarded_request import ForwardedRequest
from worker_vllm.gateway.request_log import RequestLog
from worker_vllm.gateway.server.fleet_routes import describe_fleet, fleet_routes
from worker_vllm.gateway.server.request_routes import describe_requests, request_routes
from worker_vllm.gateway.server.server import GatewayServer, ListenConfig
from worker_vllm.local.companion import LocalParts, MakeCompanion
from worker_vllm.local.fleet.endpoints import BalancedEndpoint, FleetEndpoint, QueueEndpoint
from worker_vllm.local.fleet.fleet import Fleet, FleetCallbacks, WorkerLaunch
from worker_vllm.local.fleet.fleets import Fleets
from worker_vllm.local.metrics_ports import MetricsPorts

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

HEALTH_PATH = "/ping"


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Which endpoint the workers serve, how many there are at least and at most, and how one is started."""

    endpoint: str
    mode: str  # queue or http
    workers: tuple[int, int]
    launch: WorkerLaunch


class FleetGateway:
    """Create it inside the event loop; its owner runs `server` and `fleet`, starts `requests`, and closes it."""

    def __init__(
        self,
        gateway: Gateway,
        listen_config: ListenConfig,
        plan: FleetPlan,
        callbacks: FleetCallbacks,
        make_companion: MakeCompanion | None = None,
    ) -> None:
        self._plan = plan
        self._metrics = MetricsPorts(plan.launch.environment)
        self._gateway = gateway
        self._balanced = BalancedEndpoints(listen_config.options.balancer, time.monotonic)
        scaling = listen_config.options.scaling
        policy = (scaling.balanced_policy if plan.mode == "http" else scaling.policy)(*plan.workers)
        endpoint = self._endpoint(listen_config)
        self.fleet = Fleet(endpoint, policy, plan.launch, callbacks, time.monotonic)
        if gateway.faults is not None:
            gateway.faults.send_signal = self._signal
        attached = AttachedWorkers(lambda: attached_views(gateway.states()), time.monotonic)
        fleets = [self.fleet]
        self.control = Fleets(fleets, attached, time.monotonic)
        parts = LocalParts(gateway, listen_config.url, self._balanced, fleets, self.control, self._metrics)
        self._companion = None if make_companion is None else make_companion(parts)
        routes = fleet_routes(self.control) if self._companion is None else self._companion.mounts
        self.requests = RequestLog()
        self._balanced.observe = self._record
        mounts = [Mount("/lb", app=self._balanced), *request_routes(self.requests), *routes]
        workers = describe_fleet if self._companion is None else self._companion.describe
        described = [describe_balanced, describe_requests, workers]
        self.server = GatewayServer(gateway, listen_config.listener, mounts=mounts, described=described)

    @property
    def balancer(self) -> LoadBalancer:
        """The load balancer of the endpoint, in http mode."""
        return self._balanced.endpoint(self._plan.endpoint)

    async def accompany(self) -> None:
        """Run the companion until `leave`; returns at once where there is none."""
        if self._companion is not None:
            await self._companion.run()

    def leave(self) -> None:
        """End the companion and its open responses; called before the server is stopped."""
        if self._companion is not None:
            self._companion.close()

    def kill(self) -> None:
        """Kill every worker at once."""
        if self._companion is not None:
            self._companion.kill()
        self.fleet.kill()

    async def aclose(self) -> None:
        """Kill what is left of the workers and close all connections to them."""
        self.kill()
        await self._balanced.aclose()

    def _endpoint(self, listen_config: ListenConfig) -> FleetEndpoint:
        name = self._plan.endpoint
        if self._plan.mode != "http":
            runtime = self._gateway.endpoint(name)
            return QueueEndpoint(name, runtime, listen_config.url, listen_config.key, self._metrics)
        balancer = self._balanced.create(name)
        balancer.resume = self._resume
        path = self._plan.launch.environment.get("HEALTH_CHECK_PATH") or HEALTH_PATH
        return BalancedEndpoint(name, balancer, path, self._metrics)

    def _record(self, endpoint: str, request: ForwardedRequest) -> None:
        now = time.monotonic()
        self.requests.add(request.record(endpoint, now, offset=time.time() - now))

    def _signal(self, worker_id: str, number: int) -> bool:
        member = self.fleet.find(worker_id)
        return member is not None and member.process.signal(number)

    def _resume(self, worker_id: str) -> None:
        if (member := self.fleet.find(worker_id)) is not None:
            self.fleet.thaw(member, "a client insists on it")


def describe_balanced() -> list[APIRoute]:
    """What the description says of the routes below `/lb`."""
    from worker_vllm.gateway.api.further_routes import balanced

    return balanced()
