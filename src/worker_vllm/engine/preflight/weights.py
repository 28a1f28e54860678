"""Finds a model's weight files, their size and their file system, without opening them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/mounts")
MEMORY = Path("/proc/meminfo")
# Memory limits of control groups version 2, then 1; inside a container these are the container's own.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
CONSOLIDATED = "consolidated"  # Mistral's own layout, beside or instead of the hub's


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's weight files on disk."""

    total_bytes: int
    safetensors_alone: bool  # and in the hub's layout: no other file that a loader could read by mistake
    file_system: str  # the kernel's name of the type: ext4, overlay, nfs4, fuse.mfs …


def weights_in(directory: str, mounts: Path = MOUNTS) -> Weights | None:
    """The weights in a model's directory; None where there are none, or where it is no directory."""
    if not os.path.isdir(directory):
        return None
    files = [path for path in Path(directory).iterdir() if path.suffix in SUFFIXES and path.is_file()]
    if not files:
        return None
    alone = all(path.suffix == ".safetensors" and not path.name.startswith(CONSOLIDATED) for path in files)
    total = sum(path.stat().st_size for path in files)
    # Files of a hub cache are symbolic links: only the target's file system counts.
    return Weights(total, alone, file_system(os.path.realpath(files[0]), mounts.read_text().splitlines()))


def file_system(path: str, mounts: Iterable[str]) -> str:
    """The file system type of a path, by its longest mount point; empty when no mount matches."""
    found, longest = "", -1
    for mount in mounts:
        _, point, kind, *_ = [*mount.split(), "", "", ""]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if point and inside and len(point) >= longest:
            found, longest = kind, len(point)
    return found


def free_memory_bytes(memory: Path = MEMORY, limits: tuple[Path, ...] = LIMITS) -> int:
    """Memory available for the page cache: the kernel's MemAvailable, within this container's limit."""
    bounds = [
        int(line.split()[1]) << 10 for line in memory.read_text().splitlines() if line.startswith("MemAvailable")
    ]
    for path in limits:
        try:
            bounds.append(int(path.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(bounds, default=0)
