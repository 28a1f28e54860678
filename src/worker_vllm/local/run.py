"""Runs `worker-vllm local`: the gateway, its workers, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from starlette.routing import BaseRoute, Mount

from worker_vllm import __version__
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.errors import WorkerError
from worker_vllm.gateway.fleet.attached import attached_views
from worker_vllm.gateway.fleet.fleet_control import AttachedWorkers
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.load_balancing.balanced_endpoints import BalancedEndpoints
from worker_vllm.gateway.request_log import RequestLog
from worker_vllm.gateway.server.request_routes import request_routes
from worker_vllm.gateway.server.server import GatewayServer, ListenConfig
from worker_vllm.local.console import StartConsole, curl_command, snippets
from worker_vllm.local.fleet.endpoints import BalancedEndpoint, FleetEndpoint, QueueEndpoint
from worker_vllm.local.fleet.fleet import ExitOutcome, Fleet, FleetCallbacks, WorkerLaunch
from worker_vllm.local.fleet.fleets import Fleets
from worker_vllm.local.fleet.worker_process import START, WorkersFailed
from worker_vllm.local.launch_config import ENDPOINT, LocalConfig, base_environment
from worker_vllm.local.live_terminal import LiveTerminal, Surroundings, stopping, summary
from worker_vllm.local.metrics_ports import MetricsPorts
from worker_vllm.local.readiness import model_of_balancer, model_of_queue
from worker_vllm.local.start_progress import read_line

MAX_DEFERRED = 20


class Companion(Protocol):
    """Pages beside the gateway's API, and their work between requests."""

    @property
    def mounts(self) -> Sequence[BaseRoute]:
        """Routes for the gateway's server."""

    async def run(self) -> None:
        """Work until `close`."""

    def close(self) -> None:
        """End `run` and every open response."""

    def kill(self) -> None:
        """Kill the processes that were started for it."""


@dataclass(frozen=True, slots=True)
class LocalParts:
    """What a companion is made from; it adds the fleets that it starts to `fleets`."""

    gateway: Gateway
    url: str
    balanced: BalancedEndpoints
    fleets: list[Fleet]
    control: Fleets
    metrics: MetricsPorts


MakeCompanion: TypeAlias = Callable[[LocalParts], Companion]


class LocalRun:
    """Owns the gateway, its companion and the fleet of workers, and prints their state to the console.

    Create it in its loop.
    """

    def __init__(
        self, config: LocalConfig, listen_config: ListenConfig, console: StartConsole, make_companion: MakeCompanion
    ) -> None:
        self._config = config
        self._console = console
        self._url = listen_config.url
        self._gateway = gateway = Gateway(listen_config.options, key=config.key)
        if gateway.faults is not None:
            gateway.faults.send_signal = self._signal
        self._ready = False
        self._reason = ""
        self._deferred: deque[str] = deque(maxlen=MAX_DEFERRED)  # errors of the start, printed once it has succeeded
        self._shown: set[str] = set()
        self._stop = asyncio.Event()
        self._balanced = BalancedEndpoints(listen_config.options.balancer, time.monotonic)
        self._metrics = MetricsPorts(os.environ)
        self._fleet = self._new_fleet(listen_config)
        attached = AttachedWorkers(lambda: attached_views(gateway.states()), time.monotonic)
        fleets = [self._fleet]
        self._fleets = control = Fleets(fleets, attached, time.monotonic)
        self._companion = make_companion(
            LocalParts(gateway, self._url, self._balanced, fleets, control, self._metrics)
        )
        self._requests = RequestLog()
        surroundings = Surroundings(
            self._requests, control, f"{self._url}/", console.print_line, interactive=console.interactive
        )
        self._terminal = LiveTerminal(surroundings)
        mounts = [Mount("/lb", app=self._balanced), *request_routes(self._requests), *self._companion.mounts]
        self._server = GatewayServer(gateway, listen_config.listener, mounts=mounts)

    async def run(self) -> None:
        """Return after SIGINT or SIGTERM, when all child processes have ended. Raises WorkersFailed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        self._console.phase("starting the worker")
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(self._server.serve())
                keeping = tasks.create_task(self._fleet.run())
                accompanying = tasks.create_task(self._companion.run())
                waiting = tasks.create_task(self._wait_until_ready())
                await self._stop.wait()
                waiting.cancel()
                await self._fleet.stop()
                await keeping
                self._companion.close()
                await accompanying
                self._server.stop()
                await serving
        except BaseExceptionGroup as failed:
            self._console.finish()
            raise self._with_reason(_first_worker_error(failed)) from None
        finally:
            self._terminal.close()
            self._kill()
            await self._balanced.aclose()

    def _new_fleet(self, listen_config: ListenConfig) -> Fleet:
        scaling = listen_config.options.scaling
        least, most = self._config.workers
        endpoint: FleetEndpoint
        environment = base_environment(self._config, os.environ)
        if self._config.mode == "http":
            balancer = self._balanced.create(ENDPOINT)
            balancer.resume = self._resume
            endpoint = BalancedEndpoint(ENDPOINT, balancer, environment.get("HEALTH_CHECK_PATH") or "/ping")
            policy = scaling.balanced_policy(least, most)
        else:
            runtime = self._gateway.endpoint(ENDPOINT)
            endpoint = QueueEndpoint(ENDPOINT, runtime, self._url, self._config.key, self._metrics)
            policy = scaling.policy(least, most)
        launch = WorkerLaunch(START, environment, init_timeout_s=scaling.init_timeout_s)
        callbacks = FleetCallbacks(self._on_line, self._on_exit, self._console.print_line)
        return Fleet(endpoint, policy, launch, callbacks, time.monotonic)

    def _kill(self) -> None:
        self._companion.kill()
        self._fleet.kill()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._kill()
            return
        self._stop.set()
        self._console.finish()
        self._terminal.close()
        stores = [state.store for _, state in self._gateway.states()]
        running, waiting = (
            sum(counts) for counts in zip(*((one.running, one.queued) for one in stores), strict=True)
        )
        self._console.print_line(stopping(running, waiting))

    async def _wait_until_ready(self) -> None:
        try:
            if self._config.mode == "http":
                model, base = await model_of_balancer(self._balanced.endpoint(ENDPOINT)), f"{self._url}/lb/{ENDPOINT}"
            else:
                model, base = await model_of_queue(self._gateway.endpoint(ENDPOINT)), f"{self._url}/v2/{ENDPOINT}"
        except WorkersFailed as failed:
            self._reason = str(failed)
            raise
        finally:
            self._console.finish()
        self._ready = True
        for text in self._deferred:
            self._console.print_line(text)
        route = "/v1" if self._config.mode == "http" else "/openai/v1"
        self._console.print_line(snippets(base, route, model, self._config.key))
        self._requests.follow(self._gateway)
        workers = len(self._fleets.report().workers)
        engine = engine_words(self._config.engine, sys.path)
        self._terminal.open(
            summary(__version__, engine, model, workers), curl_command(base, route, model, self._config.key)
        )

    def _signal(self, worker_id: str, number: int) -> bool:
        member = self._fleet.find(worker_id)
        return member is not None and member.process.signal(number)

    def _resume(self, worker_id: str) -> None:
        if (member := self._fleet.find(worker_id)) is not None:
            self._fleet.thaw(member, "a client insists on it")

    def _on_line(self, worker_id: str, text: str) -> None:
        line = read_line(text)
        if line.phase and line.phase not in self._shown:
            self._shown.add(line.phase)
            if not self._ready:
                self._console.phase(line.phase)
        if line.reason and not self._ready:
            self._reason = line.reason
            self._deferred.append(f"{worker_id}: {line.message}")
        elif line.needs_attention or self._config.verbose:
            self._console.print_line(f"{worker_id}: {line.message}")

    def _on_exit(self, worker_id: str, code: int) -> ExitOutcome:
        """Decide whether to restart: a worker that exits before any was ready would exit so again."""
        if self._gateway.endpoint(ENDPOINT).state.fleet.is_retired(worker_id):
            return ExitOutcome.RETIRED
        if not self._ready and self._reason and not self._config.verbose:
            self._reason += " (--verbose shows what worker and engine log)"
        return ExitOutcome.LOST if self._ready or code < 0 else ExitOutcome.CANNOT_SERVE

    def _with_reason(self, error: BaseException) -> BaseException:
        """The error with the reason that a worker logged in place of its exit status."""
        if self._reason and isinstance(error, WorkersFailed) and not self._ready:
            return WorkersFailed(self._reason)
        return error


def engine_words(engine: str, paths: Sequence[str]) -> str:
    """The engine and its version."""
    return f"vLLM {engine_version(paths)}" if engine == "vllm" else f"{engine} engine"


def _first_worker_error(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    for one in failed.exceptions:
        error = _first_worker_error(one) if isinstance(one, BaseExceptionGroup) else one
        if isinstance(error, WorkerError):
            return error
    return failed
