"""Runs `worker-vllm local`: the gateway, its workers, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence

from worker_vllm import __version__
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.server.server import ListenConfig
from worker_vllm.gateway.storage.storage import Storage
from worker_vllm.local.companion import MakeCompanion
from worker_vllm.local.console import StartConsole, curl_command, snippets
from worker_vllm.local.fleet.fleet import ExitOutcome, FleetCallbacks, WorkerLaunch, first_worker_error
from worker_vllm.local.fleet.fleet_gateway import FleetGateway, FleetPlan
from worker_vllm.local.fleet.worker_process import START, WorkersFailed
from worker_vllm.local.launch_config import ENDPOINT, LocalConfig, base_environment
from worker_vllm.local.live_terminal import LiveTerminal, TerminalContext, stopping, summary
from worker_vllm.local.readiness import model_of_balancer, model_of_queue
from worker_vllm.local.start_progress import read_line

MAX_DEFERRED = 20


class LocalRun:
    """Owns the gateway and the fleet of workers, and prints their state to the console. Create it in its loop."""

    def __init__(
        self,
        config: LocalConfig,
        listen_config: ListenConfig,
        storage: Storage,
        console: StartConsole,
        make_companion: MakeCompanion,
    ) -> None:
        self._config = config
        self._console = console
        self._url = listen_config.url
        self._gateway = Gateway(listen_config.options, key=config.key, storage=storage)
        self._ready = False
        self._reason = ""
        self._deferred: deque[str] = deque(maxlen=MAX_DEFERRED)  # errors of the start, printed once it has succeeded
        self._shown: set[str] = set()
        self._stop = asyncio.Event()
        environment = base_environment(config, os.environ)
        launch = WorkerLaunch(START, environment, init_timeout_s=listen_config.options.scaling.init_timeout_s)
        plan = FleetPlan(ENDPOINT, config.mode, config.workers, launch)
        callbacks = FleetCallbacks(self._on_line, self._on_exit, console.print_line)
        self._front = FleetGateway(self._gateway, listen_config, plan, callbacks, make_companion)
        self._fleet = self._front.fleet
        shown = (self._front.requests, self._front.control, f"{self._url}/")
        self._terminal = LiveTerminal(TerminalContext(*shown, console.print_line, interactive=console.interactive))

    async def run(self) -> None:
        """Return after SIGINT or SIGTERM, when all child processes have ended. Raises WorkersFailed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        if unfinished := self._gateway.unfinished:
            self._console.print_line(f"{unfinished} jobs of the last run go on; --ephemeral forgets them")
        self._console.phase("starting the worker")
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(self._front.server.serve())
                keeping = tasks.create_task(self._fleet.run())
                accompanying = tasks.create_task(self._front.accompany())
                waiting = tasks.create_task(self._wait_until_ready())
                await self._stop.wait()
                waiting.cancel()
                await self._fleet.stop()
                await keeping
                self._front.leave()
                await accompanying
                self._front.server.stop()
                await serving
        except BaseExceptionGroup as failed:
            self._console.finish()
            raise self._with_reason(first_worker_error(failed)) from None
        finally:
            self._terminal.close()
            await self._front.aclose()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._front.kill()
            return
        self._stop.set()
        self._console.finish()
        self._terminal.close()
        stores = [state.store for _, state in self._gateway.states()]
        running, waiting = sum(one.running for one in stores), sum(one.queued for one in stores)
        self._console.print_line(stopping(running, waiting))

    async def _wait_until_ready(self) -> None:
        try:
            if self._config.mode == "http":
                model, base = await model_of_balancer(self._front.balancer), f"{self._url}/lb/{ENDPOINT}"
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
        self._front.requests.follow(self._gateway)
        workers = len(self._front.control.report().workers)
        what = summary(__version__, engine_words(self._config.engine, sys.path), model, workers)
        self._terminal.open(what, curl_command(base, route, model, self._config.key))

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
