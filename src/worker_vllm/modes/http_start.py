"""The light start of http mode: ports bound and the engine spawned with the standard library alone."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace

from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.supervision.startup import StartPlan, plan_start
from worker_vllm.observability.tracing_settings import tracing_settings, with_engine_tracing
from worker_vllm.settings.types import EngineKind, EngineSettings, Settings
from worker_vllm.web.guard_settings import MIDDLEWARE, VARIABLE, encode, guard_settings
from worker_vllm.web.ports import bind_ports

EXIT_CONFIGURATION = 78
HEALTH_FILE = "health"  # in the launch directory; while it exists, the guard answers health with its content
RUST_FRONT_END = "VLLM_USE_RUST_FRONTEND"
NO_RUST_FRONT_END = Diagnosis(
    "front end",
    Scope.SETTINGS,
    f"{RUST_FRONT_END}=1: vLLM's Rust front end loads no middleware, so its routes cannot be guarded; remove it",
)


def start_http(settings: Settings, environment: Mapping[str, str], refusal: Diagnosis | None) -> int:
    """Serve until SIGTERM; with a `refusal` no engine is spawned and every request gets it. The exit status."""
    try:
        ports = bind_ports(settings.http)
    except OSError as error:
        return refuse(f"{error}: set PORT and PORT_HEALTH to free ports of this container")
    if refusal is None and settings.engine.kind is EngineKind.ATTACH:
        from worker_vllm.modes.http_proxy import serve_proxy

        return serve_proxy(settings, [port for port in (ports.requests, ports.health) if port is not None])
    if refusal is None and environment.get(RUST_FRONT_END, "0").strip().lower() in ("1", "true"):
        refusal = NO_RUST_FRONT_END
    token = secrets.token_hex(16)
    if refusal is None:
        engine = guarded(settings, token, traced=tracing_settings(environment) is not None)
        plan = plan_start(with_engine_tracing(engine, environment), environment)
    else:
        plan = StartPlan(settings.engine, environment, refusal=refusal)
    from worker_vllm.modes.http import serve_http

    return serve_http(settings, plan, ports, token)


def guarded(settings: Settings, report_token: str = "", *, traced: bool = False) -> EngineSettings:
    """The engine's settings for http mode: its server adopts the worker's socket, behind the guard.

    The guard is the last middleware of the command line, which vLLM (0.32) and the echo engine make the outermost. It
    does not check what comes over the engine's Unix socket, that is from the worker.
    """
    engine = settings.engine
    rules = guard_settings(settings, trust_unix=True, health_file=HEALTH_FILE, report_token=report_token)
    rules = replace(rules, traced=traced)
    return replace(
        engine,
        adopts_socket=True,
        arguments=(*engine.arguments, "--middleware", MIDDLEWARE),
        files={**engine.files, VARIABLE: encode(rules)},
    )


def refuse(reason: str) -> int:
    """Print why nothing is served; the exit status."""
    sys.stderr.write(f"{reason}\n")
    return EXIT_CONFIGURATION
