"""Endpoints on this machine that were started from the form: their fleet, their start, their failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.console.deploy.deploy_form import BALANCED, DeployRequest
from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.gateway.fleet.scaling import ScalingPolicy
from worker_vllm.local.companion import LocalParts
from worker_vllm.local.fleet.endpoints import BalancedEndpoint, FleetEndpoint, QueueEndpoint
from worker_vllm.local.fleet.fleet import ExitOutcome, Fleet, FleetCallbacks, WorkerLaunch
from worker_vllm.local.fleet.worker_process import START, WorkersFailed
from worker_vllm.local.launch_config import LocalConfig, base_environment
from worker_vllm.local.readiness import model_of_balancer, model_of_queue
from worker_vllm.local.start_progress import read_line
from worker_vllm.settings.catalog.catalog import names

MOST = 8  # endpoints at once
STARTING = "starting the worker"
# Names of the catalogue that describe this machine or its account rather than a deployment: they are inherited.
MACHINE = frozenset({"HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "BASE_PATH", "VLLM_CPU_KVCACHE_SPACE"})


@dataclass(frozen=True, slots=True)
class PhaseStart:
    """A phase of a start, and when it began."""

    name: str
    at: float


@dataclass(slots=True)
class Deployment:
    """One endpoint; `state` is starting, ready or failed."""

    request: DeployRequest
    began: float
    vision: bool
    state: str = "starting"
    phases: list[PhaseStart] = field(default_factory=list)
    ended: float | None = None  # when it was ready, or failed
    problem: str = ""
    reason: str = ""  # of the last error in the log
    fleet: Fleet | None = None
    task: asyncio.Task[None] | None = None

    def fail(self, problem: str, now: float) -> None:
        """The endpoint cannot serve."""
        self.state, self.problem, self.ended = "failed", problem, now

    def to_json(self, fields: list[str], wall: Callable[[float], float]) -> dict[str, Any]:
        """The start as the page shows it; `fields` are those that the problem names."""
        phases = [PhaseStart(STARTING, self.began), *self.phases]
        return {
            "state": self.state,
            "engine": self.request.engine,
            "phases": [{"name": phase.name, "at": wall(phase.at)} for phase in phases],
            "ended": None if self.ended is None else wall(self.ended),
            "problem": self.problem,
            "fields": fields,
        }


class Deployments:
    """Starts and stops endpoints beside those of a local run; `environ` is this process's environment."""

    def __init__(self, parts: LocalParts, key: str, environ: Mapping[str, str]) -> None:
        self._parts = parts
        self._key = key
        self._environ = environ
        self._clock = parts.gateway.clock
        self._all: dict[str, Deployment] = {}

    def start(self, request: DeployRequest, taken: frozenset[str], *, vision: bool) -> None:
        """Start an endpoint; `taken` are the names of endpoints that run otherwise. Raises RequestError 409."""
        running = self._all.get(request.name)
        if request.name in taken or (running is not None and running.state != "failed"):
            raise RequestError(
                f'an endpoint "{request.name}" runs already: stop it, or choose another name', status=409
            )
        if sum(one.state != "failed" for one in self._all.values()) >= MOST:
            raise RequestError(f"{MOST} endpoints run already: stop one of them", status=409)
        deployment = Deployment(request, self._clock(), vision)
        self._all[request.name] = deployment
        deployment.task = asyncio.create_task(self._run(deployment), name=f"deployment {request.name}")

    async def stop(self, name: str) -> None:
        """End the endpoint's workers and forget it; does nothing for an unknown name."""
        deployment = self._all.pop(name, None)
        if deployment is None or deployment.task is None:
            return
        if deployment.fleet is not None:
            await deployment.fleet.stop()
        await asyncio.gather(deployment.task, return_exceptions=True)

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*map(self.stop, list(self._all)))

    def kill(self) -> None:
        """Kill all workers at once."""
        for deployment in self._all.values():
            if deployment.fleet is not None:
                deployment.fleet.kill()

    def names(self) -> frozenset[str]:
        """The endpoints that were started here."""
        return frozenset(self._all)

    def find(self, name: str) -> Deployment | None:
        """The deployment of this name."""
        return self._all.get(name)

    async def _run(self, deployment: Deployment) -> None:
        """Run the fleet until it is stopped; a failure becomes the deployment's state."""
        name = deployment.request.name
        fleet = deployment.fleet = self._new_fleet(deployment)
        self._parts.fleets.append(fleet)
        asking = asyncio.create_task(self._wait_until_ready(deployment), name=f"first request to {name}")
        try:
            await fleet.run()
        except* (WorkerError, OSError) as failed:
            deployment.fail(deployment.reason or str(failed.exceptions[0]), self._clock())
        finally:
            asking.cancel()
            fleet.kill()
            self._parts.fleets.remove(fleet)
            await asyncio.gather(asking, return_exceptions=True)
            await self._parts.balanced.remove(name)

    def _new_fleet(self, deployment: Deployment) -> Fleet:
        request, parts = deployment.request, self._parts
        endpoint: FleetEndpoint
        if request.kind == BALANCED:
            path = request.environment.get("HEALTH_CHECK_PATH") or "/ping"
            endpoint = BalancedEndpoint(request.name, parts.balanced.create(request.name), path, parts.metrics)
        else:
            runtime = parts.gateway.add_endpoint(request.name)
            endpoint = QueueEndpoint(request.name, runtime, parts.url, self._key, parts.metrics)
        launch = WorkerLaunch(START, self._environment(request), prefix=request.name)
        callbacks = FleetCallbacks(
            line=lambda worker_id, text: self._on_line(deployment, text),
            exited=lambda worker_id, code: _outcome(deployment, code),
            message=lambda text: None,
        )
        return Fleet(endpoint, ScalingPolicy(1, 1), launch, callbacks, self._clock)

    async def _wait_until_ready(self, deployment: Deployment) -> None:
        request = deployment.request
        try:
            if request.kind == BALANCED:
                await model_of_balancer(self._parts.balanced.endpoint(request.name))
            else:
                await model_of_queue(self._parts.gateway.add_endpoint(request.name))
        except WorkersFailed as failed:
            deployment.fail(str(failed), self._clock())
            if deployment.fleet is not None:
                await deployment.fleet.stop()
        else:
            deployment.state, deployment.ended = "ready", self._clock()

    def _environment(self, request: DeployRequest) -> dict[str, str]:
        """The form's variables over those of this process that describe the machine."""
        own = {name: value for name, value in self._environ.items() if name not in names() or name in MACHINE}
        return base_environment(LocalConfig(engine=request.engine), {**own, **request.environment})

    def _on_line(self, deployment: Deployment, text: str) -> None:
        if deployment.state != "starting":
            return
        line = read_line(text)
        if line.phase and all(phase.name != line.phase for phase in deployment.phases):
            deployment.phases.append(PhaseStart(line.phase, self._clock()))
        if line.reason:
            deployment.reason = line.reason


def _outcome(deployment: Deployment, code: int) -> ExitOutcome:
    """A worker that exits before the endpoint was ready would exit so again."""
    return ExitOutcome.LOST if deployment.state == "ready" or code < 0 else ExitOutcome.CANNOT_SERVE
