"""What the engine child is started with: its command line and its environment, from the settings. Pure; no I/O."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from worker_vllm.engine.child.deferred_arguments import WAIT
from worker_vllm.settings.arguments import COMPILATION_FLAGS, EngineArguments
from worker_vllm.settings.types import EngineKind, EngineSettings

# The first two would guard the socket against ourselves, the next three are secrets that the engine has no use for,
# and the rest are names that vLLM would take for its own (it warns about every VLLM_* that it does not know).
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
# Longer than our client keeps an idle connection: the engine must never be the one that closes a pooled connection.
KEEP_ALIVE_S = 120
# vLLM 0.32 refuses more than four stop strings by default; the original had no such limit.
MAX_STOP_STRINGS = 256

ACCESS_LOG_FLAGS = ("--disable-uvicorn-access-log", "--no-disable-uvicorn-access-log")


def engine_argv(settings: EngineSettings, socket: str, told_on: int | None = None) -> list[str]:
    """The child's command line, listening on `socket`. No secret ever stands in it.

    With `told_on`, a descriptor, it imports at once and then reads there what to serve: see `waiting`.
    """
    if settings.kind is EngineKind.ECHO:
        echo = ["--uds", socket, *served(settings), *settings.arguments]
        return [sys.executable, "-m", "worker_vllm.echo", *echo]
    wait = [] if told_on is None else [WAIT, str(told_on)]
    return [sys.executable, "-m", "worker_vllm.engine.child.launch", *wait, *serve_arguments(settings, socket)]


def serve_arguments(settings: EngineSettings, socket: str) -> list[str]:
    """What follows `vllm`."""
    # FAST_START: nothing is compiled or captured; what the user said about that wins.
    given = EngineArguments(settings.arguments)
    fast = ["--enforce-eager"] if settings.fast_start and not given.has(*COMPILATION_FLAGS) else []
    # The socket's only client is this worker, which logs its jobs itself; a line a request would cost both processes.
    quiet = [] if given.has(*ACCESS_LOG_FLAGS) else ["--disable-uvicorn-access-log"]
    arguments = [*settings.arguments, *settings.loader_arguments, *fast, *quiet]
    return ["serve", settings.model, "--uds", socket, *served(settings), *arguments]


def served(settings: EngineSettings) -> list[str]:
    """The names that callers know the model by, unless the arguments hold them."""
    given = EngineArguments(settings.arguments).has("--served-model-name")
    return [] if given else ["--served-model-name", *settings.served_names]


def child_environment(settings: EngineSettings, environment: Mapping[str, str], directory: str) -> dict[str, str]:
    """The child's whole environment; our defaults give way to whatever the user set."""
    defaults = {
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_MAX_STOP_STRINGS": str(MAX_STOP_STRINGS),
        "PYTHONUNBUFFERED": "1",
    }
    withheld = {*WITHHELD, *settings.withheld}
    inherited = {name: value for name, value in environment.items() if name not in withheld}
    # What the engine puts into temporary places goes when the engine goes.
    places = {"VLLM_RPC_BASE_PATH": directory, "TMPDIR": directory}
    return {**defaults, **inherited, **settings.environment, **places}
