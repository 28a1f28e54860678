"""Chooses the directories of compiled kernels and graphs, so that the next start finds them.

On a network volume that is writable and has room, in a folder per model, engine version and GPUs; else in vLLM's own
cache, which lasts as long as the container. Variables that the user set are not changed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.engine.preflight.model_info_cache import default_cache
from worker_vllm.engine.preflight.nvidia import Driver
from worker_vllm.models.directories import VOLUME

LEAST_FREE_BYTES = 4 << 30
FOLDER = "worker-vllm-cache"
ROOT = "VLLM_CACHE_ROOT"
UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """Environment variables for the engine, and one log line about the choice."""

    environment: Mapping[str, str]
    note: str


def cache_key(model: str, version: str, driver: Driver | None) -> str:
    """A relative path from everything that compiled artifacts depend on and do not check themselves."""
    gpus = driver.gpus if driver else ()
    hardware = f"{len(gpus)}x{gpus[0].name}-sm{gpus[0].capability[0]}{gpus[0].capability[1]}" if gpus else "cpu"
    return "/".join(UNSAFE.sub("_", part).strip("_") for part in (model, version, hardware))


def free_bytes(volume: Path) -> int | None:
    """Free bytes on a mounted volume; None where nothing is mounted. Raises OSError."""
    return shutil.disk_usage(volume).free if os.path.ismount(volume) else None


def choose_caches(
    key: str, environment: Mapping[str, str], on_gpu: bool, free: Callable[[Path], int | None] = free_bytes
) -> CacheChoice:
    """The engine's cache variables; creates the folder on the volume where that is usable."""
    if ROOT in environment:
        return CacheChoice({}, f"caches: {environment[ROOT]}, set by {ROOT}")
    volume = Path(environment.get("BASE_PATH", "").strip() or VOLUME)
    root = volume / FOLDER / key
    reason = unusable(volume, root, free)
    if reason:
        home = default_cache(environment)
        # PyTorch's default is below TMPDIR, which is removed together with the engine.
        inductor = {"TORCHINDUCTOR_CACHE_DIR": str(home / "inductor")}
        return CacheChoice(missing(environment, inductor), f"caches: {home} ({reason})")
    directories = {
        ROOT: str(root),
        "TORCHINDUCTOR_CACHE_DIR": str(root / "inductor"),
        "TRITON_CACHE_DIR": str(root / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(root),
    }
    if on_gpu:
        directories["VLLM_ENABLE_STARTUP_PLAN"] = (
            "1"  # vLLM repeats memory profiling only when its fingerprint changed
        )
    warm = "warm" if any(root.iterdir()) else "cold"
    return CacheChoice(
        missing(environment, directories), f"caches: {root} ({warm}), kept on the volume for the next start"
    )


def missing(environment: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The variables of `wanted` that the user has not set."""
    return {name: value for name, value in wanted.items() if name not in environment}


def unusable(volume: Path, root: Path, free: Callable[[Path], int | None]) -> str:
    """Why the volume cannot hold caches; empty when it can, after the folder `root` was created."""
    try:
        available = free(volume)
        if available is None:
            return f"no volume is mounted at {volume}"
        if available < LEAST_FREE_BYTES:
            return f"{volume} has less than {LEAST_FREE_BYTES >> 30} GiB free"
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{volume} cannot be written to: {error.strerror}"
    return "" if os.access(root, os.W_OK) else f"{root} cannot be written to"
