"""Checks before the engine is spawned: is the model complete on disk, does it fit, can this machine run it.

Takes milliseconds and sends no request: it reads a few small files and the driver's library with the standard library
alone. Problems in the settings are refused before the engine starts; the download asks the hub.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight import model_info_cache
from worker_vllm.engine.preflight.chat_template import template_problems
from worker_vllm.engine.preflight.compile_cache import ROOT, cache_key, choose_caches
from worker_vllm.engine.preflight.container_limits import check_limits, has_workers, measure_limits
from worker_vllm.engine.preflight.memory_fit import MemoryFit, estimate
from worker_vllm.engine.preflight.nvidia import Driver, driver
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.engine.preflight.weight_loader import LoaderChoice, Machine, choose_loader, is_installed
from worker_vllm.engine.preflight.weights import free_memory_bytes, weights_in
from worker_vllm.errors import Problem
from worker_vllm.models.locate import FoundModel, locate_model
from worker_vllm.settings.types import EngineKind, EngineSettings

LEAST_CUDA = (12, 0)  # a major version's minor versions are compatible; vLLM 0.32's images have 12.9 and 13
WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")


@dataclass(frozen=True, slots=True)
class Preflight:
    """The result of all checks; `start` spawns the engine from it, `doctor` prints it."""

    settings: EngineSettings  # every model that is on disk is given by path
    given: EngineSettings  # as given, for a start that downloads first
    found: FoundModel | None = None
    driver: Driver | None = None
    problems: tuple[Problem, ...] = ()
    host_problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    key: str = ""  # model, engine version and hardware, by which compile caches and records of starts are kept apart

    @property
    def refusal(self) -> Diagnosis | None:
        """The reason not to spawn an engine; None when one can be spawned."""
        if self.host_problems:
            return Diagnosis("machine", Scope.HOST, "; ".join(self.host_problems))
        if self.problems:
            sentence = "; ".join(str(problem) for problem in self.problems)
            return Diagnosis("settings", Scope.SETTINGS, sentence)
        return None


def preflight(settings: EngineSettings, environment: Mapping[str, str]) -> Preflight:
    """Run all checks; for an engine that this worker does not launch as vLLM, none is needed."""
    if settings.kind is not EngineKind.VLLM:
        return Preflight(settings, settings, key=f"{settings.kind}/{settings.served_names[-1]}")
    found = locate_model(settings, environment)
    machine = driver()
    fit = estimate_fit(found, machine)
    key = cache_key(settings.served_names[-1], engine_version(sys.path) or "unknown", machine)
    seen = {**environment, **settings.environment}  # by the engine
    caches = choose_caches(key, seen, on_gpu=machine is not None)
    loading = choose_model_loader(settings, found, machine)
    workers = has_workers(seen, found.arguments, on_gpu=machine is not None)
    limits = check_limits(measure_limits(environment), workers=workers)
    fill_model_info_cache(found, environment, {**seen, **caches.environment}.get(ROOT))
    settings = replace(settings, environment={**caches.environment, **settings.environment})
    return Preflight(
        settings=replace(with_found(settings, found), loader_arguments=loading.arguments),
        given=settings,
        found=found,
        driver=machine,
        problems=(*limits.problems, *found.problems, *template_problems(found.arguments), *fit.problems),
        host_problems=(*host_problems(machine), *limits.host_problems),
        notes=(*found.notes, *fit.notes, caches.note, *filter(None, [loading.note])),
        key=key,
    )


def with_found(settings: EngineSettings, found: FoundModel) -> EngineSettings:
    """The settings with every model that is on disk given by its path; the served names do not change."""
    environment = {**found.environment, **settings.environment}
    return replace(settings, model=found.model, arguments=found.arguments, environment=environment)


def fill_model_info_cache(found: FoundModel, environment: Mapping[str, str], cache: str | None) -> None:
    """Copy the image's model info of this model's classes into `cache`, where that is not the default cache."""
    if cache and os.path.isdir(found.model):
        model_info_cache.copy_model_info(
            model_info_cache.default_cache(environment),
            Path(cache),
            read_config(found.model).get("architectures") or (),
        )


def choose_model_loader(settings: EngineSettings, found: FoundModel, machine: Driver | None) -> LoaderChoice:
    """Choose the loader for weights on disk; a model just downloaded is in the page cache and needs none."""
    weights = weights_in(found.model)
    config = read_config(found.model) if weights else {}
    here = Machine(machine, free_memory_bytes(), is_installed)
    return choose_loader(found.arguments, weights, config, here, settings.fast_start)


def estimate_fit(found: FoundModel, machine: Driver | None) -> MemoryFit:
    """Estimate whether the model fits, where there are GPUs and the model is on disk."""
    if machine is None or not os.path.isdir(found.model):
        return MemoryFit()
    return estimate(read_config(found.model), weights_bytes(found.model), machine.gpus, found.arguments)


def read_config(directory: str) -> Mapping[str, Any]:
    """The model's config.json; empty where it cannot be read, which `locate_model` reports."""
    try:
        content = json.loads(Path(directory, "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def weights_bytes(directory: str) -> int:
    """The size of the weights in bytes, of the first format found, as the engine loads only one."""
    for suffix in WEIGHTS:
        sizes = [path.stat().st_size for path in Path(directory).glob(f"*{suffix}")]
        if sizes:
            return sum(sizes)
    return 0


def host_problems(machine: Driver | None) -> tuple[str, ...]:
    """Problems of this machine that do not depend on the settings."""
    if machine is None or machine.cuda >= LEAST_CUDA:
        return ()
    newest, least = (".".join(map(str, version)) for version in (machine.cuda, LEAST_CUDA))
    return (
        f"the NVIDIA driver {machine.version} runs CUDA up to {newest}, and the engine needs {least}: "
        "restrict the endpoint to machines with a newer CUDA version",
    )
