"""`worker-vllm local` from its first line to the last process gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections import deque

from worker_vllm.errors import WorkerError
from worker_vllm.gateway.api.router import Gateway
from worker_vllm.gateway.api.submission import read_openai
from worker_vllm.gateway.options import JobPolicy
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.server import Front, GatewayServer
from worker_vllm.gateway.state.job import Job, Status
from worker_vllm.local.console import StartConsole, snippets
from worker_vllm.local.launch_config import ENDPOINT, LocalConfig, worker_environment
from worker_vllm.local.start_progress import read_line
from worker_vllm.local.worker_processes import End, Hooks, WorkersFailed, WorkerSlot

MOST_HELD = 20


class LocalRun:
    """The gateway, its workers, and the news about them on the screen."""

    def __init__(self, plan: LocalConfig, front: Front, screen: StartConsole) -> None:
        self._plan = plan
        self._screen = screen
        self._url = front.url
        gateway = Gateway(front.options, key=plan.key)
        if gateway.faults is not None:
            gateway.faults.send_signal = self._signal
        self._server = GatewayServer(gateway, front.listener)
        self._endpoint: EndpointRuntime = gateway.endpoint(ENDPOINT)
        self._ready = False
        self._reason = ""
        self._held: deque[str] = deque(maxlen=MOST_HELD)  # errors that the end of the start may make moot, or repeat
        self._shown: set[str] = set()
        self._stop = asyncio.Event()
        hooks = Hooks(self._started, self._line, self._ended, self._restarting)
        self._slots = [WorkerSlot(n, self._environment, hooks) for n in range(1, plan.workers + 1)]

    async def run(self) -> None:
        """Return after SIGINT or SIGTERM, with nothing left behind. Raises WorkersFailed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        self._screen.phase("starting the worker")
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(self._server.serve())
                keeping = [tasks.create_task(slot.run()) for slot in self._slots]
                announcing = tasks.create_task(self._announce())
                await self._stop.wait()
                announcing.cancel()
                await asyncio.gather(*(slot.stop() for slot in self._slots))
                await asyncio.gather(*keeping)
                self._server.stop()
                await serving
        except BaseExceptionGroup as failed:
            self._screen.done()
            raise self._explained(_first_worker_error(failed)) from None
        finally:
            for slot in self._slots:
                slot.kill()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for slot in self._slots:
                slot.kill()
            return
        self._stop.set()
        self._screen.done()
        self._screen.say("stopping; once more to force")

    async def _announce(self) -> None:
        """Ask for the models as a client would: an engine that cannot start answers with the reason."""
        job_id = f"sync-{uuid.uuid4()}-u1"
        submission = read_openai("/v1/models", None, JobPolicy())
        self._endpoint.perform(self._endpoint.state.store.submit(job_id, submission, self._endpoint.clock()))
        job = self._endpoint.state.store.get(job_id)
        while not job.terminal:
            await self._endpoint.signals.wait(job_id)
        self._screen.done()
        if job.status is not Status.COMPLETED:
            self._reason = _sentence(job.error)
            raise WorkersFailed(self._reason)
        self._ready = True
        for text in self._held:
            self._screen.say(text)
        self._screen.say(snippets(f"{self._url}/v2/{ENDPOINT}", _model_name(job), self._plan.key))

    def _environment(self, worker_id: str) -> dict[str, str]:
        return worker_environment(self._plan, os.environ, self._url, worker_id)

    def _signal(self, worker_id: str, number: int) -> bool:
        return any(slot.signal(number) for slot in self._slots if slot.worker_id == worker_id)

    def _started(self, worker_id: str) -> None:
        self._endpoint.state.fleet.expect(worker_id)

    def _line(self, worker_id: str, text: str) -> None:
        line = read_line(text)
        if line.phase and line.phase not in self._shown:
            self._shown.add(line.phase)
            if not self._ready:
                self._screen.phase(line.phase)
        if line.reason and not self._ready:
            self._reason = line.reason
            self._held.append(f"{worker_id}: {line.message}")
        elif line.alarming or self._plan.verbose:
            self._screen.say(f"{worker_id}: {line.message}")

    def _ended(self, worker_id: str, code: int) -> End:
        """Before any was ready, a worker that ends by itself has told why, and another would say the same."""
        retired = self._endpoint.state.fleet.is_retired(worker_id)
        self._endpoint.lose(worker_id)
        if retired:
            return End.RETIRED
        if not self._ready and self._reason and not self._plan.verbose:
            self._reason += " (--verbose shows what worker and engine log)"
        return End.LOST if self._ready or code < 0 else End.USELESS

    def _explained(self, error: BaseException) -> BaseException:
        """The reason that a worker gave for its end, in place of its exit status."""
        if self._reason and isinstance(error, WorkersFailed) and not self._ready:
            return WorkersFailed(self._reason)
        return error

    def _restarting(self, worker_id: str, code: int) -> None:
        self._screen.say(f"{worker_id} ended with status {code}; starting another")


def _first_worker_error(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    for error in failed.exceptions:
        if isinstance(error, WorkerError):
            return error
    return failed


def _sentence(error: str | None) -> str:
    try:
        return str(json.loads(error or "")["message"])
    except (ValueError, TypeError, KeyError):
        return error or "the engine gave no reason"


def _model_name(job: Job) -> str:
    output = job.output[0] if isinstance(job.output, list) and job.output else job.output
    models = json.loads(output) if isinstance(output, str) else output
    return str(models["data"][0]["id"])
