"""Runs `worker-vllm local`: the gateway, its workers, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections import deque

from worker_vllm.errors import WorkerError
from worker_vllm.gateway.api.submission import read_openai
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import JobPolicy
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.server import GatewayServer, ListenConfig
from worker_vllm.gateway.state.job import Job, Status
from worker_vllm.local.console import StartConsole, snippets
from worker_vllm.local.launch_config import ENDPOINT, LocalConfig, worker_environment
from worker_vllm.local.start_progress import read_line
from worker_vllm.local.worker_processes import ExitOutcome, WorkerCallbacks, WorkersFailed, WorkerSlot

MAX_DEFERRED = 20


class LocalRun:
    """Owns the gateway and the worker slots, and prints their state to the console."""

    def __init__(self, config: LocalConfig, listen_config: ListenConfig, console: StartConsole) -> None:
        self._config = config
        self._console = console
        self._url = listen_config.url
        gateway = Gateway(listen_config.options, key=config.key)
        if gateway.faults is not None:
            gateway.faults.send_signal = self._signal
        self._server = GatewayServer(gateway, listen_config.listener)
        self._endpoint: EndpointRuntime = gateway.endpoint(ENDPOINT)
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
                keeping = [tasks.create_task(slot.run()) for slot in self._slots]
                waiting = tasks.create_task(self._wait_until_ready())
                await self._stop.wait()
                waiting.cancel()
                await asyncio.gather(*(slot.stop() for slot in self._slots))
                await asyncio.gather(*keeping)
                self._server.stop()
                await serving
        except BaseExceptionGroup as failed:
            self._console.finish()
            raise self._with_reason(_first_worker_error(failed)) from None
        finally:
            for slot in self._slots:
                slot.kill()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for slot in self._slots:
                slot.kill()
            return
        self._stop.set()
        self._console.finish()
        self._console.print_line("stopping; press Ctrl-C again to force")

    async def _wait_until_ready(self) -> None:
        """Request the models as a client does; a worker whose engine cannot start answers with the reason."""
        job_id = f"sync-{uuid.uuid4()}-u1"
        submission = read_openai("/v1/models", None, JobPolicy())
        self._endpoint.perform(self._endpoint.state.store.submit(job_id, submission, self._endpoint.clock()))
        job = self._endpoint.state.store.get(job_id)
        while not job.terminal:
            await self._endpoint.signals.wait(job_id)
        self._console.finish()
        if job.status is not Status.COMPLETED:
            self._reason = _error_message(job.error)
            raise WorkersFailed(self._reason)
        self._ready = True
        for text in self._deferred:
            self._console.print_line(text)
        self._console.print_line(snippets(f"{self._url}/v2/{ENDPOINT}", _model_name(job), self._config.key))

    def _environment(self, worker_id: str) -> dict[str, str]:
        return worker_environment(self._config, os.environ, self._url, worker_id)

    def _signal(self, worker_id: str, number: int) -> bool:
        return any(slot.signal(number) for slot in self._slots if slot.worker_id == worker_id)

    def _on_start(self, worker_id: str) -> None:
        self._endpoint.state.fleet.expect(worker_id)

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
        retired = self._endpoint.state.fleet.is_retired(worker_id)
        self._endpoint.lose(worker_id)
        if retired:
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


def _error_message(error: str | None) -> str:
    try:
        return str(json.loads(error or "")["message"])
    except (ValueError, TypeError, KeyError):
        return error or "the engine gave no reason"


def _model_name(job: Job) -> str:
    output = job.output[0] if isinstance(job.output, list) and job.output else job.output
    models = json.loads(output) if isinstance(output, str) else output
    return str(models["data"][0]["id"])
