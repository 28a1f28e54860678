"""`worker-vllm start`: the container's entry point. The mode comes from the environment.

A light start: with the standard library alone it loads the settings and spawns the engine; aiohttp and the rest are
imported while the engine loads its own.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight.container_limits import raise_open_files
from worker_vllm.engine.supervision.startup import StartPlan, plan_start
from worker_vllm.errors import ConfigurationError
from worker_vllm.host_inspection import inspect_host
from worker_vllm.observability.logging import configure
from worker_vllm.settings.load import build_draft, freeze
from worker_vllm.settings.types import EngineKind, Mode, Settings

log = logging.getLogger(__name__)

EXIT_CONFIGURATION = 78
UNSERVED = (
    "start serves RunPod's queue, and this environment asks for mode {}: run `worker-vllm local` on a machine of "
    "your own, or set RUNPOD_WEBHOOK_GET_JOB (the platform does) for a worker of a queue endpoint"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: everything comes from the environment."""


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; 0 after a drain, 1 when this machine cannot, 78 where no job can be told why."""
    environment = dict(os.environ)
    raise_open_files()
    draft = build_draft(environment, inspect_host(environment))
    settings = freeze(draft)
    if draft.problems:
        return _refuse(ConfigurationError(draft.problems), settings, environment)
    configure(settings.log_format, settings.log_level, environment, settings.secrets)
    for warning in settings.warnings:
        log.warning("%s", warning)
    if settings.mode is not Mode.QUEUE:
        print(UNSERVED.format(settings.mode), file=sys.stderr)
        return EXIT_CONFIGURATION
    beginning = None if settings.engine.kind is EngineKind.ATTACH else plan_start(settings.engine, environment)
    return _serve(settings, beginning)


def _refuse(error: ConfigurationError, settings: Settings, environment: dict[str, str]) -> int:
    """Answer every job with what is wrong: a crash loop would cost money and tell the callers nothing."""
    for problem in error.problems:
        print(problem, file=sys.stderr)
    if settings.mode is not Mode.QUEUE or not settings.queue.take_url:
        return EXIT_CONFIGURATION
    configure(settings.log_format, settings.log_level, environment, settings.secrets)
    refusal = Diagnosis("settings", Scope.SETTINGS, str(error))
    return _serve(settings, StartPlan(settings.engine, environment, refusal=refusal))


def _serve(settings: Settings, beginning: StartPlan | None) -> int:
    from worker_vllm.modes.queue import serve_queue

    return serve_queue(settings, beginning)
