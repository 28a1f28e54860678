"""Series of durations as figures and as a table; percentiles are those of the bench package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.record import Table
from worker_vllm.bench.samples import percentiles


@dataclass(frozen=True, slots=True)
class Figures:
    """Durations in milliseconds; `per_second` is calls over the wall time of all of them."""

    name: str
    count: int
    p50: float
    p95: float
    p99: float
    worst: float
    mean: float
    per_second: float


def figures(name: str, durations_s: Sequence[float], wall_s: float) -> Figures:
    """The figures of one series of calls."""
    found = percentiles(durations_s)
    return Figures(
        name,
        count=len(durations_s),
        p50=1000 * found.p50,
        p95=1000 * found.p95,
        p99=1000 * found.p99,
        worst=1000 * max(durations_s),
        mean=1000 * found.mean,
        per_second=len(durations_s) / wall_s,
    )


def table(title: str, rows: Sequence[Figures]) -> Table:
    """The figures in columns."""
    head = ["", "calls", "p50", "p95", "p99", "longest", "calls/s"]
    lines = [
        [row.name, str(row.count), *(f"{value:.2f} ms" for value in (row.p50, row.p95, row.p99, row.worst)),
         f"{row.per_second:.0f}"]
        for row in rows
    ]  # fmt: skip
    return Table(title, head, lines)
