"""`worker-vllm start`: the container's entry point. The mode comes from the environment.

To start fast, it loads the settings and spawns the engine with the standard library alone; aiohttp and the other
libraries are imported while the engine imports its own.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from worker_vllm import __version__
from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight.container_limits import raise_open_files
from worker_vllm.engine.supervision.startup import StartPlan, plan_start
from worker_vllm.errors import ConfigurationError
from worker_vllm.host_inspection import inspect_host
from worker_vllm.modes.http_start import start_http
from worker_vllm.observability.logging import configure
from worker_vllm.settings.load import build_draft, freeze
from worker_vllm.settings.types import EngineKind, Mode, Settings

log = logging.getLogger(__name__)

EXIT_CONFIGURATION = 78
UNSUPPORTED_MODE = (
    "start serves queue and http endpoints, and this environment asks for mode {}: run `worker-vllm local` on your "
    "own machine, use a queue endpoint, where the platform sets RUNPOD_WEBHOOK_GET_JOB, or set PORT for http mode"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments: all settings come from the environment."""


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM.

    Exit status 0 after a drain, 1 for a fault of this machine, 78 where nothing can be served.
    """
    environment = dict(os.environ)
    raise_open_files()
    draft = build_draft(environment, inspect_host(environment))
    settings = freeze(draft)
    if draft.problems:
        return _refuse(ConfigurationError(draft.problems), settings, environment)
    configure(settings.log_format, settings.log_level, environment, settings.secrets)
    if settings.mode in (Mode.QUEUE, Mode.HTTP):
        log.info("%s", banner(settings, draft.facts.vllm))
    for warning in settings.warnings:
        log.warning("%s", warning)
    if settings.mode is Mode.HTTP:
        return start_http(settings, environment, None)
    if settings.mode is not Mode.QUEUE:
        print(UNSUPPORTED_MODE.format(settings.mode), file=sys.stderr)
        return EXIT_CONFIGURATION
    plan = None if settings.engine.kind is EngineKind.ATTACH else plan_start(settings.engine, environment)
    return _serve(settings, plan)


def _refuse(error: ConfigurationError, settings: Settings, environment: dict[str, str]) -> int:
    """Fail every job and request with the problems, because a crash loop would cost money and report nothing.

    Returns 78 at once where there is nothing to answer.
    """
    for problem in error.problems:
        print(problem, file=sys.stderr)
    refusal = Diagnosis("settings", Scope.SETTINGS, str(error))
    if settings.mode is Mode.HTTP:
        configure(settings.log_format, settings.log_level, environment, settings.secrets)
        return start_http(settings, environment, refusal)
    if settings.mode is not Mode.QUEUE or not settings.queue.take_url:
        return EXIT_CONFIGURATION
    configure(settings.log_format, settings.log_level, environment, settings.secrets)
    return _serve(settings, StartPlan(settings.engine, environment, refusal=refusal))


def _serve(settings: Settings, plan: StartPlan | None) -> int:
    from worker_vllm.modes.queue import serve_queue

    return serve_queue(settings, plan)


def banner(settings: Settings, vllm: str) -> str:
    """What starts, in one line: version, mode, model, engine."""
    engine = settings.engine
    if engine.kind is EngineKind.ATTACH:
        return f"worker-vllm {__version__}, {settings.mode} mode, engine at {engine.url}"
    kind = f"vLLM {vllm}" if engine.kind is EngineKind.VLLM else f"{engine.kind} engine"
    return f"worker-vllm {__version__}, {settings.mode} mode, model {engine.model}, {kind}"
