"""CPU time of the processes under measurement: what a busy machine does not change."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def worker_pid(parent: int) -> int:
    """The worker among the processes that `worker-vllm local` started."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and b"start" in (entry / "cmdline").read_bytes().split(b"\0"):
                return int(entry.name)
    raise RuntimeError(f"process {parent} has no worker among its children")


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S
