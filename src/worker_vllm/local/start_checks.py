"""Checks before anything is started; errors name the argument or variable that the user gave."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from worker_vllm.engine.preflight.preflight import preflight
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.host_inspection import inspect_host
from worker_vllm.local.launch_config import LocalConfig, worker_environment
from worker_vllm.models import hub_access
from worker_vllm.models.hub_client import Cause
from worker_vllm.models.locate import FoundModel
from worker_vllm.models.references import is_path
from worker_vllm.settings.load import load
from worker_vllm.settings.types import EngineKind

NO_ENGINE = (
    "vLLM is not installed for {}: `make run` in a checkout installs it and starts everything; "
    "--engine echo needs no vLLM"
)
OTHERWISE = "or leave --model and MODEL_NAME out for the embedded model"


def find_problems(config: LocalConfig, env: Mapping[str, str], paths: Sequence[str]) -> tuple[str, ...]:
    """One message for each reason why a worker could not serve; queries the hub when a model must be downloaded.

    `paths` is the search path for Python packages (`sys.path`).
    """
    environment = worker_environment(config, env, "http://127.0.0.1:8000", "worker-1")
    try:
        settings = load(environment, inspect_host(environment))
    except ConfigurationError as error:
        return tuple(as_typed(problem, config) for problem in error.problems)
    engine = settings.engine
    if engine.kind is EngineKind.VLLM and engine_version(paths) is None:
        return (NO_ENGINE.format(sys.executable),)
    checked = preflight(engine, environment)
    if checked.problems:
        return tuple(as_typed(problem, config) for problem in checked.problems)
    if checked.host_problems or checked.found is None:
        return checked.host_problems
    return hub_refusals(checked.found, environment)


def as_typed(problem: Problem, config: LocalConfig) -> str:
    """The message of a problem; names `--model` in place of MODEL_NAME when the user gave the argument."""
    if problem.key != "MODEL_NAME":
        return str(problem)
    if is_path(problem.value) and not Path(problem.value).expanduser().exists():
        problem = replace(problem, expected="a path that exists", change=f"correct it, {OTHERWISE}")
    return str(replace(problem, key="--model", value=config.model) if config.model else problem)


def hub_refusals(found: FoundModel, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The hub's refusals for repositories that are not on this disk; one message for an unreachable hub."""
    refusals: list[str] = []
    for reference in found.downloads:
        error = hub_access.access_error(reference, {**environment, **found.environment})
        if error is not None and error.cause is Cause.UNREACHABLE:
            return (f"{error} (are you offline?); give the directory of a model, {OTHERWISE}",)
        refusals += [] if error is None else [str(error)]
    return tuple(refusals)
