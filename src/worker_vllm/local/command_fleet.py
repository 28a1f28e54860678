"""`worker-vllm gateway --worker-command`: a gateway whose workers are processes of any command."""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import Mapping

from worker_vllm.errors import RequestError
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.server.server import ListenConfig
from worker_vllm.gateway.storage.storage import Storage
from worker_vllm.local.companion import MakeCompanion
from worker_vllm.local.console import PlainConsole
from worker_vllm.local.fleet.fleet import ExitOutcome, FleetCallbacks, WorkerLaunch, first_worker_error
from worker_vllm.local.fleet.fleet_gateway import FleetGateway, FleetPlan
from worker_vllm.local.launch_config import ENDPOINT, without_platform


def read_plan(
    command: str, mode: str, workers: tuple[int, int], environ: Mapping[str, str], init_timeout_s: float
) -> FleetPlan:
    """The plan of the command-line arguments. Raises RequestError for a command that is none."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise RequestError(f"--worker-command {command}: {error}, expected a command as in a shell") from None
    if not words:
        raise RequestError('--worker-command "": expected a command, such as "python worker.py"')
    environment = {**without_platform(environ), "PYTHONUNBUFFERED": "1"}
    return FleetPlan(ENDPOINT, mode, workers, WorkerLaunch(words, environment, init_timeout_s=init_timeout_s))


async def serve_command_fleet(
    plan: FleetPlan, listen_config: ListenConfig, storage: Storage, make_companion: MakeCompanion
) -> None:
    """Serve until SIGINT or SIGTERM; each line that a worker prints is shown with its id. Raises WorkersFailed."""
    console = PlainConsole()
    gateway = Gateway(listen_config.options, key=listen_config.key, storage=storage)

    def outcome(worker_id: str, code: int) -> ExitOutcome:
        retired = gateway.endpoint(ENDPOINT).state.fleet.is_retired(worker_id)
        return ExitOutcome.RETIRED if retired else ExitOutcome.LOST

    callbacks = FleetCallbacks(lambda one, text: console.print_line(f"{one}: {text}"), outcome, console.print_line)
    front = FleetGateway(gateway, listen_config, plan, callbacks, make_companion)
    front.requests.follow(gateway)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, stop, front)
    route = "lb" if plan.mode == "http" else "v2"
    console.print_line(f"gateway on {listen_config.url}/{route}/{ENDPOINT}")
    console.print_line(f"console on {listen_config.url}/")
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(front.server.serve())
            keeping = tasks.create_task(front.fleet.run())
            accompanying = tasks.create_task(front.accompany())
            await stop.wait()
            await front.fleet.stop()
            await keeping
            front.leave()
            await accompanying
            front.server.stop()
            await serving
    except BaseExceptionGroup as failed:
        raise first_worker_error(failed) from None
    finally:
        await front.aclose()


def _on_signal(stop: asyncio.Event, front: FleetGateway) -> None:
    """The first signal ends the workers in order, the second at once."""
    if stop.is_set():
        front.kill()
    stop.set()
