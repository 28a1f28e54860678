"""CPU time of a target's processes on this machine: those that listen at its address, and their descendants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from worker_vllm.bench.targets import BenchTarget

LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
Usage = dict[int, tuple[str, float]]


def listeners(target: BenchTarget) -> list[int]:
    """Process ids that listen at the target's address; empty where it is another machine or not visible."""
    parts = urlsplit(target.url)
    if target.socket:
        return [pid for pid in psutil.pids() if target.socket in _command(pid)]
    if parts.hostname not in LOCAL:
        return []
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        return []
    found = {
        one.pid for one in connections if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid
    }
    return sorted(found)


def usage(roots: list[int]) -> Usage:
    """Name and CPU seconds of the processes and all their descendants that are alive."""
    found: Usage = {}
    for root in roots:
        try:
            process = psutil.Process(root)
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
        for one in family:
            try:
                times = one.cpu_times()
                found[one.pid] = (_name(one), times.user + times.system)
            except psutil.Error:
                continue
    return found


def used(before: Usage, after: Usage) -> dict[str, float]:
    """CPU seconds between two observations, by name; a process that ended in between is not counted."""
    found: dict[str, float] = {}
    for pid, (name, seconds) in after.items():
        since = before.get(pid, (name, 0.0))[1]
        found[name] = found.get(name, 0.0) + max(0.0, seconds - since)
    return {name: round(seconds, 3) for name, seconds in found.items() if seconds >= 0.005}


def total(cpu_s: Mapping[str, float]) -> float:
    """CPU seconds of all processes."""
    return sum(cpu_s.values())


def _name(process: psutil.Process) -> str:
    """What a reader recognises: a worker's verb, a module or script, vLLM's own titles, the program."""
    words: list[str] = process.cmdline()
    for position, word in enumerate(words):
        if word.endswith(("worker-vllm", "worker_vllm")) and position + 1 < len(words):
            return f"worker-vllm {words[position + 1]}"
        if position and words[position - 1] == "-m":
            return word
    if len(words) > 1 and words[1].endswith(".py"):
        return words[1].rpartition("/")[2]
    return words[0].rpartition("/")[2] if words and words[0] else str(process.name())


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
