"""Before anything is started: whatever speaks against a worker here, in the words of what the user typed."""

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


def obstacles(plan: LocalConfig, env: Mapping[str, str], paths: Sequence[str]) -> tuple[str, ...]:
    """One sentence for each reason why a worker could not serve; asks the hub where a model must be downloaded.

    `paths` are where Python finds packages.
    """
    environment = worker_environment(plan, env, "http://127.0.0.1:8000", "worker-1")
    try:
        settings = load(environment, inspect_host(environment))
    except ConfigurationError as error:
        return tuple(as_typed(problem, plan) for problem in error.problems)
    engine = settings.engine
    if engine.kind is EngineKind.VLLM and engine_version(paths) is None:
        return (NO_ENGINE.format(sys.executable),)
    checked = preflight(engine, environment)
    if checked.problems:
        return tuple(as_typed(problem, plan) for problem in checked.problems)
    if checked.host_problems or checked.found is None:
        return checked.host_problems
    return not_given(checked.found, environment)


def as_typed(problem: Problem, plan: LocalConfig) -> str:
    """The problem, with the argument in the variable's place where the user gave the argument."""
    if problem.key != "MODEL_NAME":
        return str(problem)
    if is_path(problem.value) and not Path(problem.value).expanduser().exists():
        problem = replace(problem, expected="a path that exists", change=f"correct it, {OTHERWISE}")
    return str(replace(problem, key="--model", value=plan.model) if plan.model else problem)


def not_given(found: FoundModel, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What the hub refuses of the repositories that are not on this disk; an unreachable hub is told once."""
    told: list[str] = []
    for reference in found.downloads:
        error = hub_access.access_error(reference, {**environment, **found.environment})
        if error is not None and error.cause is Cause.UNREACHABLE:
            return (f"{error} (are you offline?); give the directory of a model, {OTHERWISE}",)
        told += [] if error is None else [str(error)]
    return tuple(told)
