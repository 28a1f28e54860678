"""The state that the console shows: endpoints and jobs of the gateway, workers, endpoints started from the form."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

from worker_vllm.console.deploy.deployments import Deployments
from worker_vllm.console.deploy.validation_report import fields_in
from worker_vllm.console.jobs.job_history import Delays, JobHistory
from worker_vllm.console.jobs.job_rows import JobRows
from worker_vllm.console.workers.sampler import INTERVAL_S, EndpointSeries
from worker_vllm.console.workers.scraped_metrics import MetricsReader, WorkerFigures
from worker_vllm.console.workers.worker_tracks import WorkerTracks
from worker_vllm.errors import NotFound
from worker_vllm.gateway.fleet.fleet_control import FleetControl, WorkerState
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft

Inspect: TypeAlias = Callable[[Mapping[str, str]], HostFacts]


@dataclass(frozen=True, slots=True)
class ConsoleHost:
    """What the process around the console gives it."""

    gateway: Gateway
    clock: Callable[[], float]
    inspect: Inspect
    fleet: FleetControl
    deployments: Deployments | None = None  # None: this gateway starts no workers
    engines: tuple[str, ...] = ("echo",)  # that are installed
    sees_images: Callable[[str], bool] = field(default=lambda endpoint: False)
    balanced: Callable[[], Sequence[str]] = field(default=tuple)  # names of load-balancing endpoints
    metrics_addresses: Callable[[], Mapping[str, str]] = field(default=dict)  # by worker


class ConsoleState:
    """Reads the gateway's state for the page; used from one event loop."""

    def __init__(self, host: ConsoleHost) -> None:
        self.host = host
        self._offset = time.time() - host.clock()
        self.endpoints: dict[str, EndpointRuntime] = {}
        self.histories: dict[str, JobHistory] = {}
        self.series: dict[str, EndpointSeries] = {}
        self.rows = JobRows(self.wall)
        self.readers = 0  # open feeds
        self.closing = asyncio.Event()
        self._tracks = WorkerTracks(self.wall)
        self._metrics = MetricsReader()
        host.gateway.watch_endpoints(self._add_endpoint)

    def wall(self, at: float) -> float:
        """A time of the gateway's clock as seconds since 1970."""
        return round(at + self._offset, 3)

    async def pause(self, seconds: float) -> None:
        """Wait, or return at once when the console closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closing.wait()

    def endpoint(self, name: str) -> EndpointRuntime:
        """An endpoint that exists. Raises NotFound."""
        found = self.endpoints.get(name)
        if found is None:
            raise NotFound(f'endpoint "{name}": not known here; the page lists those that are')
        return found

    def refresh_rows(self) -> None:
        """Compare the rows with the jobs."""
        for name, runtime in self.endpoints.items():
            jobs = {job.id: job for job in runtime.state.store.jobs()}
            self.rows.refresh(name, jobs, self.histories[name])

    def endpoint_payloads(self) -> list[dict[str, Any]]:
        """Every endpoint with its counts, and its start if it was started from the form."""
        queues = [self._endpoint(name, runtime.state.health()) for name, runtime in self.endpoints.items()]
        started = self.host.deployments.names() if self.host.deployments else ()
        others = dict.fromkeys((*self.host.balanced(), *started))  # a start that failed has its diagnosis alone
        return [*queues, *(self._without_queue(name) for name in others if name not in self.endpoints)]

    def worker_payloads(self) -> list[dict[str, Any]]:
        """Every worker."""
        return self._tracks.payload(self.host.fleet)

    async def sample(self) -> None:
        """Add a point to every endpoint each second until `closing`; workers are read while a page is open."""
        last = self.host.clock()
        try:
            while not self.closing.is_set():
                await self.pause(INTERVAL_S)
                now = self.host.clock()
                figures = await self._metrics.read(self.host.metrics_addresses() if self.readers else {})
                self._add_points(now, max(now - last, 0.001), figures)
                last = now
        finally:
            await self._metrics.close()

    def _add_points(self, now: float, elapsed_s: float, figures: Mapping[str, WorkerFigures]) -> None:
        served = {view.id: view.endpoint for view in self.host.fleet.report().workers} if figures else {}
        balanced = self.host.balanced()
        for name in self.series.keys() - self.endpoints.keys() - set(balanced):
            del self.series[name]
        for name in dict.fromkeys((*self.endpoints, *balanced)):
            own = {worker: figure for worker, figure in figures.items() if served.get(worker) == name}
            series = self.series.setdefault(name, EndpointSeries())
            if (runtime := self.endpoints.get(name)) is None:
                series.add(self.wall(now), elapsed_s, None, Delays(), own)
            else:
                store, delays = runtime.state.store, self.histories[name].take_delays()
                series.add(self.wall(now), elapsed_s, store.completed + store.failed, delays, own)

    def _add_endpoint(self, name: str, runtime: EndpointRuntime) -> None:
        history = JobHistory(runtime.state.store.find, self.host.clock)
        runtime.observers.append(history)
        self.endpoints[name] = runtime
        self.histories[name] = history
        self.series[name] = EndpointSeries()

    def _without_queue(self, name: str) -> dict[str, Any]:
        """A load-balancing endpoint, which has no jobs: its requests go to the workers as they are."""
        states = [view.state for view in self.host.fleet.report().workers if view.endpoint == name]
        ready = sum(state in (WorkerState.IDLE, WorkerState.RUNNING) for state in states)
        return {**self._endpoint(name, {"workers": {"ready": ready}, "jobs": None}), "queue": False}

    def _endpoint(self, name: str, health: Mapping[str, Any]) -> dict[str, Any]:
        path = f"/lb/{quote(name, safe='')}" if name in self.host.balanced() else None
        payload = {"name": name, **health, "vision": self.host.sees_images(name), "load_balancing": path}
        deployment = self.host.deployments.find(name) if self.host.deployments else None
        if deployment is not None:
            payload["start"] = deployment.to_json(fields_in(deployment.problem), self.wall)
        return payload


def is_multimodal(engine: str, environment: Mapping[str, str], inspect: Inspect) -> bool:
    """Whether the model of these settings takes images: its configuration has a vision part. The echo engine may."""
    if engine == "echo":
        return True
    facts = build_draft(environment, inspect(environment)).facts
    return "vision_config" in (facts.model_config or {})
