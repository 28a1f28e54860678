"""Runs `worker-vllm local`: the gateway, its workers, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from starlette.routing import BaseRoute

from worker_vllm.errors import WorkerError
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.server import GatewayServer, ListenConfig
from worker_vllm.gateway.state.job import Status
from worker_vllm.local.console import StartConsole, snippets
from worker_vllm.local.first_request import ask_for_models, error_message, model_name
from worker_vllm.local.launch_config import ENDPOINT, LocalConfig, worker_environment
from worker_vllm.local.metrics_ports import MetricsPorts
from worker_vllm.local.slot_fleet import SlotFleet
from worker_vllm.local.start_progress import read_line
from worker_vllm.local.worker_processes import ExitOutcome, WorkerCallbacks, WorkersFailed, WorkerSlot

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
    """What a companion is made from."""

    gateway: Gateway
    url: str
    fleet: SlotFleet
    metrics: MetricsPorts


MakeCompanion: TypeAlias = Callable[[LocalParts], Companion]


class LocalRun:
    """Owns the gateway, its companion and the worker slots, and prints their state to the console."""

    def __init__(
        self, config: LocalConfig, listen_config: ListenConfig, console: StartConsole, make_companion: MakeCompanion
    ) -> None:
        self._config = config
        self._console = console
        self._url = listen_config.url
        gateway = Gateway(listen_config.options, key=config.key)
        if gateway.faults is not None:
            gateway.faults.send_signal = self._signal
        self._endpoint: EndpointRuntime = gateway.endpoint(ENDPOINT)
        self._fleet = SlotFleet(self._endpoint.clock)
        self._metrics = MetricsPorts()
        self._companion = make_companion(LocalParts(gateway, self._url, self._fleet, self._metrics))
        self._server = GatewayServer(gateway, listen_config.listener, mounts=self._companion.mounts)
        self._ready = False
        self._reason = ""
        self._deferred: deque[str] = deque(maxlen=MAX_DEFERRED)  # errors of the start, printed once it has succeeded
        self._shown: set[str] = set()
        self._stop = asyncio.Event()
        callbacks = WorkerCallbacks(self._on_start, self._on_line, self._on_exit, self._on_restart)
        self._slots = [WorkerSlot(n, self._environment, callbacks) for n in range(1, config.workers + 1)]

    async def run(self) -> None:
        """Return after SIGINT or SIGTERM, when all child processes have ended. Raises WorkersFailed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        self._console.phase("starting the worker")
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(self._server.serve())
                accompanying = tasks.create_task(self._companion.run())
                keeping = [tasks.create_task(slot.run()) for slot in self._slots]
                waiting = tasks.create_task(self._wait_until_ready())
                await self._stop.wait()
                waiting.cancel()
                await asyncio.gather(*(slot.stop() for slot in self._slots))
                await asyncio.gather(*keeping)
                self._companion.close()
                await accompanying
                self._server.stop()
                await serving
        except BaseExceptionGroup as failed:
            self._console.finish()
            raise self._with_reason(_first_worker_error(failed)) from None
        finally:
            self._kill()

    def _kill(self) -> None:
        self._companion.kill()
        for slot in self._slots:
            slot.kill()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._kill()
            return
        self._stop.set()
        self._console.finish()
        self._console.print_line("stopping; press Ctrl-C again to force")

    async def _wait_until_ready(self) -> None:
        """Request the models as a client does; a worker whose engine cannot start answers with the reason."""
        job = await ask_for_models(self._endpoint)
        self._console.finish()
        if job.status is not Status.COMPLETED:
            self._reason = error_message(job.error)
            raise WorkersFailed(self._reason)
        self._ready = True
        for text in self._deferred:
            self._console.print_line(text)
        self._console.print_line(snippets(f"{self._url}/v2/{ENDPOINT}", model_name(job), self._config.key))

    def _environment(self, worker_id: str) -> dict[str, str]:
        environment = worker_environment(self._config, os.environ, self._url, worker_id)
        return self._metrics.add_address(worker_id, environment)

    def _signal(self, worker_id: str, number: int) -> bool:
        return any(slot.signal(number) for slot in self._slots if slot.worker_id == worker_id)

    def _on_start(self, worker_id: str) -> None:
        self._endpoint.state.fleet.expect(worker_id)
        slot = next(slot for slot in self._slots if slot.worker_id == worker_id)
        self._fleet.started(worker_id, ENDPOINT, self._endpoint, slot)

    def _on_line(self, worker_id: str, text: str) -> None:
        self._fleet.line(worker_id, text)
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
        retired = self._endpoint.state.fleet.is_retired(worker_id)
        self._endpoint.lose(worker_id)
        self._metrics.remove(worker_id)
        if self._fleet.ended(worker_id, code) or retired:
            return ExitOutcome.RETIRED
        if not self._ready and self._reason and not self._config.verbose:
            self._reason += " (--verbose shows what worker and engine log)"
        return ExitOutcome.LOST if self._ready or code < 0 else ExitOutcome.CANNOT_SERVE

    def _with_reason(self, error: BaseException) -> BaseException:
        """The error with the reason that a worker logged in place of its exit status."""
        if self._reason and isinstance(error, WorkersFailed) and not self._ready:
            return WorkersFailed(self._reason)
        return error

    def _on_restart(self, worker_id: str, code: int) -> None:
        self._console.print_line(f"{worker_id} ended with status {code}; starting another")


def _first_worker_error(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    for error in failed.exceptions:
        if isinstance(error, WorkerError):
            return error
    return failed
