"""The light start of http mode: ports bound and the engine spawned with the standard library alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

from worker_vllm.engine.diagnosis.types import Diagnosis
from worker_vllm.engine.supervision.startup import StartPlan, plan_start
from worker_vllm.settings.types import EngineKind, EngineSettings, Settings
from worker_vllm.web.ports import bind_ports

EXIT_CONFIGURATION = 78
GUARD_MODULE = "worker_vllm.web.guard"
NO_GUARD = (
    f"http mode needs {GUARD_MODULE}, which is missing here: without it every route of the engine would be open"
)
NO_PROXY = "http mode cannot serve an engine that is already running: remove ENGINE_URL, or use queue mode"


def start_http(settings: Settings, environment: Mapping[str, str], refusal: Diagnosis | None) -> int:
    """Serve until SIGTERM; with a `refusal` no engine is spawned and every request gets it. The exit status."""
    reason = NO_PROXY if settings.engine.kind is EngineKind.ATTACH else "" if guard_exists() else NO_GUARD
    if reason:
        return refuse(reason)
    try:
        ports = bind_ports(settings.http)
    except OSError as error:
        return refuse(f"{error}: set PORT and PORT_HEALTH to free ports of this container")
    if refusal is None:
        plan = plan_start(guarded(settings), environment)
    else:
        plan = StartPlan(settings.engine, environment, refusal=refusal)
    from worker_vllm.modes.http import serve_http

    return serve_http(settings, plan, ports)


def guard_exists() -> bool:
    """Whether this installation has the guard."""
    return find_spec(GUARD_MODULE) is not None


def guarded(settings: Settings) -> EngineSettings:
    """The engine's settings for http mode: its server adopts the worker's socket, behind the guard.

    The guard's settings file and its `--middleware` argument belong here.
    """
    return replace(settings.engine, adopts_socket=True)


def refuse(reason: str) -> int:
    """Print why nothing is served; the exit status."""
    sys.stderr.write(f"{reason}\n")
    return EXIT_CONFIGURATION
