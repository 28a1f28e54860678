"""What can be told of a model's weights without opening them: which files, how large, on which file system."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/mounts")
MEMORY = Path("/proc/meminfo")
# Control groups version 2, then 1; in a container they are its own.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
CONSOLIDATED = "consolidated"  # Mistral's own layout, which lies beside or instead of the hub's


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's weight files on disk."""

    total_bytes: int
    safetensors_alone: bool  # and in the hub's layout: nothing else that a loader could take up by mistake
    file_system: str  # as the kernel names it: ext4, overlay, nfs4, fuse.mfs …


def weights_in(directory: str, mounts: Path = MOUNTS) -> Weights | None:
    """The weights in a model's directory; None where there are none, or no directory."""
    if not os.path.isdir(directory):
        return None
    files = [path for path in Path(directory).iterdir() if path.suffix in SUFFIXES and path.is_file()]
    if not files:
        return None
    alone = all(path.suffix == ".safetensors" and not path.name.startswith(CONSOLIDATED) for path in files)
    total = sum(path.stat().st_size for path in files)
    # A hub cache has links there: the file itself tells where it lies.
    return Weights(total, alone, file_system(os.path.realpath(files[0]), mounts.read_text().splitlines()))


def file_system(path: str, mounts: Iterable[str]) -> str:
    """The type of the file system that the path lies on, by the longest mount point; empty when none is told."""
    found, longest = "", -1
    for mount in mounts:
        _, point, kind, *_ = [*mount.split(), "", "", ""]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if point and inside and len(point) >= longest:
            found, longest = kind, len(point)
    return found


def free_memory_bytes(memory: Path = MEMORY, limits: tuple[Path, ...] = LIMITS) -> int:
    """Memory that files may be kept in: what the kernel calls available, within this container's limit."""
    told = [int(line.split()[1]) << 10 for line in memory.read_text().splitlines() if line.startswith("MemAvailable")]
    for path in limits:
        try:
            told.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(told, default=0)
