"""Endpoints on this machine that were started from the form: their workers, their start, their failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.console.form import DeployRequest
from worker_vllm.errors import RequestError
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.state.job import Status
from worker_vllm.local.first_request import ask_for_models, error_message
from worker_vllm.local.launch_config import LocalConfig, worker_environment
from worker_vllm.local.slot_fleet import SlotFleet
from worker_vllm.local.start_progress import read_line
from worker_vllm.local.worker_log import STARTING, PhaseStart
from worker_vllm.local.worker_processes import ExitOutcome, WorkerCallbacks, WorkersFailed, WorkerSlot
from worker_vllm.settings.catalog.catalog import names

MOST = 8  # endpoints at once
# Names of the catalogue that describe this machine or its account rather than a deployment: they are inherited.
MACHINE = frozenset({"HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "BASE_PATH", "VLLM_CPU_KVCACHE_SPACE"})


@dataclass(slots=True)
class Deployment:
    """One endpoint; `state` is starting, ready, failed or stopped."""

    request: DeployRequest
    runtime: EndpointRuntime
    state: str = "starting"
    phases: list[PhaseStart] = field(default_factory=list)
    ended: float | None = None
    problem: str = ""
    reason: str = ""  # of the last error in the log
    vision: bool = False  # whether the model takes images
    slot: WorkerSlot | None = None
    task: asyncio.Task[None] | None = None

    def fail(self, problem: str, now: float) -> None:
        """The endpoint cannot serve."""
        self.state, self.problem, self.ended = "failed", problem, now


class Deployments:
    """Starts and stops endpoints; `environ` is this process's environment, `url` the gateway's address."""

    def __init__(self, gateway: Gateway, fleet: SlotFleet, url: str, key: str, environ: Mapping[str, str]) -> None:
        self._gateway = gateway
        self._fleet = fleet
        self._url = url
        self._key = key
        self._environ = environ
        self._all: dict[str, Deployment] = {}
        self.configure: Callable[[str, dict[str, str]], dict[str, str]] = lambda worker_id, environment: environment
        self.sees_images: Callable[[str, Mapping[str, str]], bool] = lambda engine, environment: False

    def start(self, request: DeployRequest, taken: frozenset[str]) -> Deployment:
        """Start an endpoint; `taken` are the names of endpoints that run otherwise. Raises RequestError 409."""
        running = self._all.get(request.name)
        if request.name in taken or (running is not None and running.state in ("starting", "ready")):
            raise RequestError(
                f'an endpoint "{request.name}" runs already: stop it, or choose another name', status=409
            )
        if sum(one.task is not None and not one.task.done() for one in self._all.values()) >= MOST:
            raise RequestError(f"{MOST} endpoints run already: stop one of them", status=409)
        runtime = self._gateway.endpoint(request.name)
        deployment = Deployment(request, runtime, phases=[PhaseStart(STARTING, runtime.clock())])
        deployment.vision = self.sees_images(request.engine, request.environment)
        self._all[request.name] = deployment
        deployment.task = asyncio.create_task(self._run(deployment))
        return deployment

    async def stop(self, name: str) -> None:
        """End the endpoint's workers and forget it; does nothing for an unknown name."""
        deployment = self._all.pop(name, None)
        if deployment is None or deployment.task is None:
            return
        if deployment.slot is not None:
            await deployment.slot.stop()
        deployment.task.cancel()
        await asyncio.gather(deployment.task, return_exceptions=True)

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*map(self.stop, list(self._all)))

    def kill(self) -> None:
        """Kill all workers at once."""
        for deployment in self._all.values():
            if deployment.slot is not None:
                deployment.slot.kill()

    def names(self) -> frozenset[str]:
        """The endpoints that were started here."""
        return frozenset(self._all)

    def find(self, name: str) -> Deployment | None:
        """The deployment of this name."""
        return self._all.get(name)

    async def _run(self, deployment: Deployment) -> None:
        """Run the worker and wait for its first answer; a failure becomes the deployment's state."""
        callbacks = WorkerCallbacks(
            started=lambda worker_id: self._on_start(deployment, worker_id),
            line=lambda worker_id, text: self._on_line(deployment, worker_id, text),
            ended=lambda worker_id, code: self._on_exit(deployment, worker_id, code),
            restarting=lambda worker_id, code: None,
        )
        slot = WorkerSlot(
            1, lambda worker_id: self._environment(deployment, worker_id), callbacks, deployment.request.name
        )
        deployment.slot = slot
        asking = asyncio.create_task(self._wait_until_ready(deployment))
        try:
            await slot.run()
        except WorkersFailed as error:
            deployment.fail(deployment.reason or str(error), deployment.runtime.clock())
        finally:
            asking.cancel()
            slot.kill()

    async def _wait_until_ready(self, deployment: Deployment) -> None:
        job = await ask_for_models(deployment.runtime)
        now = deployment.runtime.clock()
        if job.status is Status.COMPLETED:
            deployment.state, deployment.ended = "ready", now
            return
        deployment.fail(error_message(job.error), now)
        if deployment.slot is not None:
            await deployment.slot.stop()

    def _environment(self, deployment: Deployment, worker_id: str) -> dict[str, str]:
        request = deployment.request
        own = {name: value for name, value in self._environ.items() if name not in names() or name in MACHINE}
        config = LocalConfig(engine=request.engine, key=self._key, endpoint=request.name)
        environment = worker_environment(config, {**own, **request.environment}, self._url, worker_id)
        return self.configure(worker_id, environment)

    def _on_start(self, deployment: Deployment, worker_id: str) -> None:
        deployment.runtime.state.fleet.expect(worker_id)
        assert deployment.slot is not None
        self._fleet.started(worker_id, deployment.request.name, deployment.runtime, deployment.slot)

    def _on_line(self, deployment: Deployment, worker_id: str, text: str) -> None:
        self._fleet.line(worker_id, text)
        line = read_line(text)
        if deployment.state != "starting":
            return
        if line.phase and all(phase.name != line.phase for phase in deployment.phases):
            deployment.phases.append(PhaseStart(line.phase, deployment.runtime.clock()))
        if line.reason:
            deployment.reason = line.reason

    def _on_exit(self, deployment: Deployment, worker_id: str, code: int) -> ExitOutcome:
        asked = self._fleet.ended(worker_id, code)
        deployment.runtime.lose(worker_id)
        if asked:
            return ExitOutcome.RETIRED
        return ExitOutcome.LOST if deployment.state == "ready" or code < 0 else ExitOutcome.CANNOT_SERVE


def start_payload(deployment: Deployment, fields: list[str], wall: Callable[[float], float]) -> dict[str, Any]:
    """The start as the page shows it; `fields` are those that the problem names."""
    return {
        "state": deployment.state,
        "engine": deployment.request.engine,
        "phases": [{"name": phase.name, "at": wall(phase.at)} for phase in deployment.phases],
        "ended": None if deployment.ended is None else wall(deployment.ended),
        "problem": deployment.problem,
        "fields": fields,
    }
