"""What is known of a start before the engine is spawned: where its weights are, and what earlier starts have left.

Reads directory names and sizes alone; takes well under a millisecond.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from worker_vllm.engine.preflight.compile_cache import ROOT
from worker_vllm.engine.preflight.model_info_cache import default_cache
from worker_vllm.engine.preflight.nvidia import Driver
from worker_vllm.models.directories import VOLUME, ModelDirectories
from worker_vllm.models.hub_cache import repositories
from worker_vllm.models.locate import FoundModel, Source
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.types import EngineSettings

MOUNTS = Path("/proc/mounts")
# What vLLM and its compilers keep below the cache directory from one start to the next.
CACHES = {
    "torch.compile": "torch_compile_cache",
    "inductor": "inductor",
    "triton": "triton",
    "model info": "modelinfos",
}


class Origin(StrEnum):
    """Where the weights of a start come from."""

    HUB = "hub"  # downloaded by this start
    BAKED = "baked"
    VOLUME = "volume"
    CACHED_MODEL = "cached model"  # mounted by the platform, below the volume's path or read-only
    STORE = "object store"
    LOCAL = "local"
    UNKNOWN = ""  # the engine is no vLLM


@dataclass(frozen=True, slots=True)
class StartFacts:
    """Known before the spawn. `key` is the model, the engine's version and the hardware, as in the compile caches."""

    key: str
    origin: Origin = Origin.UNKNOWN
    cache_root: str = ""
    warm: Mapping[str, bool] = field(default_factory=dict)  # cache → whether an earlier start has left something
    repositories: tuple[str, ...] = ()  # that this start downloads
    hub_caches: tuple[str, ...] = ()
    present_bytes: int = 0  # of these repositories, on disk before the start
    loader: str = ""  # arguments of the loader that the worker chose
    fast_start: bool = False
    machine: str = ""  # driver and GPUs
    spawned_after_s: float = 0.0  # from the start of this process
    relaunch: bool = False


def weights_origin(found: FoundModel, volume: str, mounts: Iterable[str]) -> Origin:
    """The origin of the model's weights; for a path, by the mount that it is on."""
    if found.source is Source.BAKED:
        return Origin.BAKED
    if found.source is Source.STORE:
        return Origin.STORE
    if found.source is Source.HUB:
        return Origin.HUB
    return origin_of_path(os.path.realpath(found.model), volume, mounts)


def origin_of_path(path: str, volume: str, mounts: Iterable[str]) -> Origin:
    """Volume, cached model, or local: a volume is one mount, the platform's models are on mounts below its path."""
    point, options = "", ""
    for mount in mounts:
        _, here, _, flags, *_ = [*mount.split(), "", "", "", ""]
        if (path == here or path.startswith(here.rstrip("/") + "/")) and len(here) >= len(point):
            point, options = here, flags
    if point != volume and not point.startswith(f"{volume}/"):
        return Origin.LOCAL
    read_only = "ro" in options.split(",")
    return Origin.CACHED_MODEL if read_only or point != volume else Origin.VOLUME


def volume_of(environment: Mapping[str, str]) -> str:
    """The path where a network volume is mounted, if there is one."""
    return environment.get("BASE_PATH", "").strip().rstrip("/") or VOLUME


def warm_caches(root: Path) -> dict[str, bool]:
    """For each cache below `root`, whether it holds anything."""
    found = {}
    for name, folder in CACHES.items():
        try:
            with os.scandir(root / folder) as entries:
                found[name] = any(True for _ in entries)
        except OSError:
            found[name] = False
    return found


def start_facts(
    settings: EngineSettings,
    environment: Mapping[str, str],
    found: FoundModel | None,
    key: str,
    machine: Driver | None = None,
) -> StartFacts:
    """The facts of a start with these settings, which hold the chosen caches and loader already."""
    variables = {**environment, **settings.environment}
    root = Path(variables.get(ROOT) or default_cache(environment))
    origin = Origin.UNKNOWN
    names: tuple[str, ...] = ()
    if found is not None:
        origin = weights_origin(found, volume_of(environment), MOUNTS.read_text().splitlines())
        names = tuple(reference.name for reference in found.downloads)
    download_dir = EngineArguments(settings.arguments).get("--download-dir")
    caches = tuple(map(str, ModelDirectories.from_environment(environment, download_dir).caches))
    return StartFacts(
        key=key,
        origin=origin,
        cache_root=str(root),
        warm=warm_caches(root),
        repositories=names,
        hub_caches=caches,
        present_bytes=bytes_on_disk(names, caches),
        loader=" ".join(settings.loader_arguments),
        fast_start=settings.fast_start,
        machine="" if machine is None else f"{machine.version}, " + ", ".join(gpu.name for gpu in machine.gpus),
    )


def relaunch_facts(facts: StartFacts, settings: EngineSettings, environment: Mapping[str, str]) -> StartFacts:
    """The facts of another launch: the weights are on disk now, and caches may have been filled."""
    origin = facts.origin
    try:
        if origin is Origin.HUB:
            path, mounts = os.path.realpath(settings.model), MOUNTS.read_text().splitlines()
            origin = origin_of_path(path, volume_of(environment), mounts)
        warm = warm_caches(Path(facts.cache_root))
    except OSError:
        warm = {}
    loader = " ".join(settings.loader_arguments)
    return replace(facts, origin=origin, warm=warm, repositories=(), present_bytes=0, loader=loader, relaunch=True)


def bytes_on_disk(names: Iterable[str], caches: Iterable[str]) -> int:
    """The size of all files of these repositories in all hub caches."""
    places = list(caches)
    return sum(
        blob_bytes(repository) for name in names for cache in places for repository in repositories(Path(cache), name)
    )


def blob_bytes(repository: Path) -> int:
    """The size of all files of a repository in a hub cache."""
    try:
        with os.scandir(repository / "blobs") as entries:
            return sum(entry.stat().st_size for entry in entries)
    except OSError:
        return 0
