"""Counts the kernel's out-of-memory kills in this container; a killed process itself logs nothing."""

from __future__ import annotations

from pathlib import Path

# Control groups version 2, then 1; inside a container these paths are the container's own.
COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def oom_kills(counters: tuple[Path, ...] = COUNTERS) -> int:
    """The kernel's count so far; 0 where no counter can be read."""
    for path in counters:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
