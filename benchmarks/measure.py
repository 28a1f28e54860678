"""What every benchmark shares: durations to figures, a table for people, JSON for comparisons."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Figures:
    """Durations in milliseconds; `per_second` is calls over the wall time of all of them."""

    name: str
    count: int
    p50: float
    p90: float
    p99: float
    worst: float
    mean: float
    per_second: float


def figures(name: str, durations_s: Sequence[float], wall_s: float) -> Figures:
    """The figures of one series of calls."""
    ordered = sorted(duration * 1000 for duration in durations_s)

    def percentile(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Figures(
        name,
        len(ordered),
        percentile(0.5),
        percentile(0.9),
        percentile(0.99),
        ordered[-1],
        fmean(ordered),
        len(ordered) / wall_s,
    )


async def timed(call: Call) -> float:
    """How long one call took, in seconds."""
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


async def in_turn(name: str, call: Call, count: int) -> Figures:
    """One call after the other."""
    start = time.perf_counter()
    durations = [await timed(call) for _ in range(count)]
    return figures(name, durations, time.perf_counter() - start)


async def at_once(name: str, call: Call, clients: int, count: int) -> Figures:
    """So many clients, each with its calls one after the other."""
    durations: list[float] = []

    async def client() -> None:
        for _ in range(count):
            durations.append(await timed(call))

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())
    return figures(name, durations, time.perf_counter() - start)


def table(rows: Sequence[Figures]) -> str:
    """The figures in columns."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':<{width}}  {'n':>6}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'max ms':>9}{'per s':>9}"]
    for row in rows:
        lines.append(
            f"{row.name:<{width}}  {row.count:>6}{row.p50:>9.2f}{row.p90:>9.2f}{row.p99:>9.2f}"
            f"{row.worst:>9.2f}{row.per_second:>9.0f}"
        )
    return "\n".join(lines)


def write(path: Path, benchmark: str, rows: Sequence[Figures]) -> None:
    """The figures as JSON, with the machine they were measured on."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    found = {"benchmark": benchmark, "machine": machine, "figures": [asdict(row) for row in rows]}
    path.write_text(json.dumps(found, indent=2) + "\n")
