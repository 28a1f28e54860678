"""What can be known before the GPU is touched: is the model there and whole, can it fit, is the machine fit for it.

Contacts nobody, and takes milliseconds: the standard library, a few small files, the driver's own library. Problems
of the settings are refused before the engine is started; what only the hub knows is asked once, by the download.
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
from worker_vllm.engine.preflight.compile_cache import ROOT, CacheChoice, cache_key, choose_caches
from worker_vllm.engine.preflight.container_limits import has_workers, judge, measure
from worker_vllm.engine.preflight.memory_fit import MemoryFit, estimate
from worker_vllm.engine.preflight.nvidia import Driver, driver
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.engine.preflight.weight_loader import LoaderChoice, Machine, choose_loader, is_installed
from worker_vllm.engine.preflight.weights import free_memory_bytes, weights_in
from worker_vllm.errors import Problem
from worker_vllm.models.locate import FoundModel, locate_model
from worker_vllm.settings.types import EngineKind, EngineSettings

LEAST_CUDA = (12, 0)  # major versions are compatible with each other; vLLM 0.32's images carry 12.9 and 13
WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found out, and whatever speaks against a start."""

    settings: EngineSettings  # with everything that is on disk given by path
    given: EngineSettings  # without, for a download that finds the rest
    found: FoundModel | None = None
    driver: Driver | None = None
    problems: tuple[Problem, ...] = ()
    host_problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def refusal(self) -> Diagnosis | None:
        """Why no engine should be started; None when one should."""
        if self.host_problems:
            return Diagnosis("machine", Scope.HOST, "; ".join(self.host_problems))
        if self.problems:
            sentence = "; ".join(str(problem) for problem in self.problems)
            return Diagnosis("settings", Scope.SETTINGS, sentence)
        return None


def preflight(settings: EngineSettings, environment: Mapping[str, str]) -> Preflight:
    """Check everything that can be checked here; an engine that is no vLLM of ours needs no model."""
    if settings.kind is not EngineKind.VLLM:
        return Preflight(settings, settings)
    found = locate_model(settings, environment)
    machine = driver()
    fit = fit_of(found, machine)
    caches = caches_of(settings, environment, machine)
    loading = loading_of(settings, found, machine)
    limits = judge(measure(environment), workers=has_workers(found.arguments, machine is not None))
    bring_notes(found, environment, {**environment, **settings.environment, **caches.environment}.get(ROOT))
    settings = replace(settings, environment={**caches.environment, **settings.environment})
    return Preflight(
        settings=replace(with_found(settings, found), loader_arguments=loading.arguments),
        given=settings,
        found=found,
        driver=machine,
        problems=(*limits.problems, *found.problems, *template_problems(found.arguments), *fit.problems),
        host_problems=(*host_problems(machine), *limits.host_problems),
        notes=(*found.notes, *fit.notes, caches.note, *filter(None, [loading.note])),
    )


def with_found(settings: EngineSettings, found: FoundModel) -> EngineSettings:
    """The settings with every model that is on disk given by its path; callers keep the names they know."""
    environment = {**found.environment, **settings.environment}
    return replace(settings, model=found.model, arguments=found.arguments, environment=environment)


def caches_of(settings: EngineSettings, environment: Mapping[str, str], machine: Driver | None) -> CacheChoice:
    """The caches of this model on this machine."""
    key = cache_key(settings.served_names[-1], engine_version(sys.path) or "unknown", machine)
    return choose_caches(key, {**environment, **settings.environment}, on_gpu=machine is not None)


def bring_notes(found: FoundModel, environment: Mapping[str, str], cache: str | None) -> None:
    """Give another cache than the image's the image's notes on this model's classes."""
    if cache and os.path.isdir(found.model):
        model_info_cache.copy_notes(
            model_info_cache.own_cache(environment), Path(cache), read_config(found.model).get("architectures") or ()
        )


def loading_of(settings: EngineSettings, found: FoundModel, machine: Driver | None) -> LoaderChoice:
    """How to read the weights of a model that is on disk; what was just downloaded is in memory anyhow."""
    weights = weights_in(found.model)
    config = read_config(found.model) if weights else {}
    here = Machine(machine, free_memory_bytes(), is_installed)
    return choose_loader(found.arguments, weights, config, here, settings.fast_start)


def fit_of(found: FoundModel, machine: Driver | None) -> MemoryFit:
    """The memory estimate, where there are GPUs and the model is on disk."""
    if machine is None or not os.path.isdir(found.model):
        return MemoryFit()
    return estimate(read_config(found.model), weights_bytes(found.model), machine.gpus, found.arguments)


def read_config(directory: str) -> Mapping[str, Any]:
    """The model's configuration; empty where it cannot be read, which the search for the model reports."""
    try:
        content = json.loads(Path(directory, "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def weights_bytes(directory: str) -> int:
    """The size of the weights; of the first format that is there, as the engine loads only one."""
    for suffix in WEIGHTS:
        sizes = [path.stat().st_size for path in Path(directory).glob(f"*{suffix}")]
        if sizes:
            return sum(sizes)
    return 0


def host_problems(machine: Driver | None) -> tuple[str, ...]:
    """What is wrong with the machine whatever the settings are."""
    if machine is None or machine.cuda >= LEAST_CUDA:
        return ()
    newest = ".".join(map(str, machine.cuda))
    return (f"the NVIDIA driver {machine.version} runs CUDA up to {newest}: too old for the engine",)
