"""Where compiled kernels and graphs are kept, so that the next start finds them.

On the network volume where there is one that can be written to and has room, under a key of model, engine version and
GPUs; else where vLLM puts them by itself, which survives as long as the container does. Whatever the user set stays.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.engine.preflight.model_info_cache import own_cache
from worker_vllm.engine.preflight.nvidia import Driver
from worker_vllm.models.directories import VOLUME

ROOMY_BYTES = 4 << 30
FOLDER = "worker-vllm-cache"
ROOT = "VLLM_CACHE_ROOT"
UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """Variables for the child, and one line on what was chosen."""

    environment: Mapping[str, str]
    note: str


def cache_key(model: str, version: str, driver: Driver | None) -> str:
    """One folder for everything that a compiled artifact depends on and does not check by itself."""
    gpus = driver.gpus if driver else ()
    cards = f"{len(gpus)}x{gpus[0].name}-sm{gpus[0].capability[0]}{gpus[0].capability[1]}" if gpus else "cpu"
    return "/".join(UNSAFE.sub("_", part).strip("_") for part in (model, version, cards))


def free_bytes(volume: Path) -> int | None:
    """Room on a mounted volume; None where nothing is mounted. Raises OSError."""
    return shutil.disk_usage(volume).free if os.path.ismount(volume) else None


def choose_caches(
    key: str, environment: Mapping[str, str], on_gpu: bool, room: Callable[[Path], int | None] = free_bytes
) -> CacheChoice:
    """The child's cache variables; makes the folder on the volume, and writes nothing where it cannot."""
    if ROOT in environment:
        return CacheChoice({}, f"caches: {environment[ROOT]}, as {ROOT} says")
    volume = Path(environment.get("BASE_PATH", "").strip() or VOLUME)
    root = volume / FOLDER / key
    reason = unusable(volume, root, room)
    if reason:
        home = own_cache(environment)
        # The child's TMPDIR goes with the child; PyTorch would keep its compiled code there.
        inductor = {"TORCHINDUCTOR_CACHE_DIR": str(home / "inductor")}
        return CacheChoice(missing(environment, inductor), f"caches: {home} ({reason})")
    places = {
        ROOT: str(root),
        "TORCHINDUCTOR_CACHE_DIR": str(root / "inductor"),
        "TRITON_CACHE_DIR": str(root / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(root),
    }
    if on_gpu:
        places["VLLM_ENABLE_STARTUP_PLAN"] = "1"  # memory profiling is repeated only when its fingerprint changed
    warm = "warm" if any(root.iterdir()) else "cold"
    return CacheChoice(
        missing(environment, places), f"caches: {root} ({warm}), kept on the volume for the next start"
    )


def missing(environment: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Those variables that the user left open."""
    return {name: value for name, value in wanted.items() if name not in environment}


def unusable(volume: Path, root: Path, room: Callable[[Path], int | None]) -> str:
    """Why the volume cannot keep caches; empty when it can, and then the folder is there."""
    try:
        free = room(volume)
        if free is None:
            return f"no volume is mounted at {volume}"
        if free < ROOMY_BYTES:
            return f"{volume} has less than {ROOMY_BYTES >> 30} GiB free"
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{volume} cannot be written to: {error.strerror}"
    return "" if os.access(root, os.W_OK) else f"{root} cannot be written to"
