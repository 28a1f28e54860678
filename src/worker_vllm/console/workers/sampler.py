"""One point a second for each endpoint: throughput, delays, tokens, admission window, KV memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.console.jobs.job_history import Delays
from worker_vllm.console.workers.scraped_metrics import WorkerFigures

KEPT_POINTS = 300
INTERVAL_S = 1.0

Point = dict[str, Any]


@dataclass(slots=True)
class EndpointSeries:
    """The points of one endpoint, numbered from 1."""

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=KEPT_POINTS))
    count: int = 0
    _ended: dict[str, float] = field(default_factory=dict)
    _tokens: dict[str, float] = field(default_factory=dict)

    def add(
        self, at: float, elapsed_s: float, ended: int | None, delays: Delays, workers: Mapping[str, WorkerFigures]
    ) -> None:
        """Add a point; `ended` counts the jobs that ever ended, `workers` holds the figures of those that report.

        Without jobs, `ended` is None: what the workers have counted stands in.
        """
        self.count += 1
        self.points.append(
            {
                "at": at,
                "jobs_per_s": self._jobs_per_s(elapsed_s, ended, workers),
                "queue_delay_s": _mean(delays.queue),
                "first_piece_s": _mean(delays.first_piece),
                "tokens_per_s": _rate(self._tokens, _counts(workers, "tokens"), elapsed_s),
                "window": _total([figures.window for figures in workers.values()]),
                "kv_used": _mean([figures.kv_used for figures in workers.values() if figures.kv_used is not None]),
            }
        )

    def since(self, count: int) -> list[Point]:
        """The points after the first `count`, as far as they are kept."""
        new = self.count - count
        return list(self.points)[-new:] if new > 0 else []

    def _jobs_per_s(self, elapsed_s: float, ended: int | None, workers: Mapping[str, WorkerFigures]) -> float | None:
        counts = _counts(workers, "ended") if ended is None else {"": float(ended)}
        found = _rate(self._ended, counts, elapsed_s)
        return 0.0 if found is None and ended is not None else found


def _counts(workers: Mapping[str, WorkerFigures], name: str) -> dict[str, float]:
    found = {worker: getattr(figures, name) for worker, figures in workers.items()}
    return {worker: value for worker, value in found.items() if value is not None}


def _rate(before: dict[str, float], now: dict[str, float], elapsed_s: float) -> float | None:
    """What the counters have gained since the last point, of those that were there then; `before` becomes `now`."""
    gained = [value - before[name] for name, value in now.items() if name in before]
    before.clear()
    before.update(now)
    return sum(max(0.0, gain) for gain in gained) / elapsed_s if gained else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _total(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
