"""The engine child's command line and environment, built from the settings. Pure; no I/O."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from worker_vllm.engine.child.deferred_arguments import ARGUMENTS_FLAG
from worker_vllm.engine.child.handover_protocol import HANDOVER_FLAG
from worker_vllm.settings.arguments import COMPILATION_FLAGS, EngineArguments
from worker_vllm.settings.types import EngineKind, EngineSettings

# With the first two vLLM would ask the worker itself for a key. The next three are secrets that the engine has no use
# for. The others are worker settings that vLLM would take for its own (it warns about every VLLM_* it does not know).
WITHHELD = (
    "API_KEY",
    "VLLM_API_KEY",
    "RUNPOD_AI_API_KEY",
    "RUNPOD_API_KEY",
    "GATEWAY_API_KEY",
    "VLLM_EXTRA_ARGS",
    "VLLM_CONFIG_FILE",
    "VLLM_PORT",
)
# Longer than the worker's client keeps an idle connection: the engine must not close a connection of its pool.
KEEP_ALIVE_S = 120
# vLLM 0.32 refuses more than four stop strings by default; the original had no such limit.
MAX_STOP_STRINGS = 256

ACCESS_LOG_FLAGS = ("--disable-uvicorn-access-log", "--no-disable-uvicorn-access-log")


def engine_argv(settings: EngineSettings, socket: str, arguments_fd: int | None = None) -> list[str]:
    """The child's command line, listening on the Unix socket `socket`. It never contains a secret.

    With the descriptor `arguments_fd`, the child imports at once and reads its arguments there later: see
    `child.deferred_arguments`.
    """
    handover = [HANDOVER_FLAG, handover_path(socket)] if settings.adopts_socket else []
    if settings.kind is EngineKind.ECHO:
        echo = [*handover, "--report-usage", "--uds", socket, *served(settings), *settings.arguments]
        return [sys.executable, "-m", "worker_vllm.echo", *echo]
    wait = [] if arguments_fd is None else [ARGUMENTS_FLAG, str(arguments_fd)]
    launch = [sys.executable, "-m", "worker_vllm.engine.child.launch", *handover, *wait]
    return [*launch, *serve_arguments(settings, socket)]


def handover_path(socket: str) -> str:
    """Where the engine's server waits for the worker's listening socket, beside its own Unix socket."""
    return f"{socket.removesuffix('engine.sock')}adopt.sock"


def serve_arguments(settings: EngineSettings, socket: str) -> list[str]:
    """The arguments that follow `vllm` on the command line."""
    # FAST_START=1 compiles and captures nothing, unless the user's own arguments choose.
    given = EngineArguments(settings.arguments)
    fast = ["--enforce-eager"] if settings.fast_start and not given.has(*COMPILATION_FLAGS) else []
    # The worker is the socket's only client and logs its jobs itself; a line per request would cost both processes.
    quiet = [] if given.has(*ACCESS_LOG_FLAGS) else ["--disable-uvicorn-access-log"]
    arguments = [*settings.arguments, *settings.loader_arguments, *fast, *quiet]
    return ["serve", settings.model, "--uds", socket, *served(settings), *arguments]


def served(settings: EngineSettings) -> list[str]:
    """The flag with the served model names, unless the arguments have it."""
    given = EngineArguments(settings.arguments).has("--served-model-name")
    return [] if given else ["--served-model-name", *settings.served_names]


def child_environment(settings: EngineSettings, environment: Mapping[str, str], directory: str) -> dict[str, str]:
    """The child's whole environment; the user's values override the worker's defaults."""
    defaults = {
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_MAX_STOP_STRINGS": str(MAX_STOP_STRINGS),
        "PYTHONUNBUFFERED": "1",
    }
    withheld = {*WITHHELD, *settings.withheld}
    inherited = {name: value for name, value in environment.items() if name not in withheld}
    # The engine's temporary files and sockets are removed together with the launch directory.
    places = {"VLLM_RPC_BASE_PATH": directory, "TMPDIR": directory}
    files = {variable: launch_file(directory, variable) for variable in settings.files}
    return {**defaults, **inherited, **settings.environment, **places, **files}


def launch_file(directory: str, variable: str) -> str:
    """Path of the file in the launch directory whose path the engine finds in this variable."""
    return f"{directory}/{variable.lower()}"
