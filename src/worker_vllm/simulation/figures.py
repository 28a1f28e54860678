"""What an outcome means: percentiles of delay and latency, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker_vllm.simulation.endpoint_model import Outcome
from worker_vllm.simulation.percentile import percentile


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds below which half, 95% and 99% of the jobs lie."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class SimulatedFigures:
    """`cost` in the unit of the price that was given, for the whole load and for 1,000 jobs."""

    jobs: int
    queue_delay: Quantiles
    first_token: Quantiles
    latency: Quantiles
    jobs_per_s: float
    worker_s: float
    most_workers: int
    cold_starts: int
    cost: float
    cost_per_1000: float


def figures(outcome: Outcome, price_per_s: float) -> SimulatedFigures:
    """The figures of a run with at least one job."""
    jobs = outcome.jobs
    cost = outcome.worker_s * price_per_s
    return SimulatedFigures(
        jobs=len(jobs.arrived),
        queue_delay=_since_arrival(outcome, jobs.taken),
        first_token=_since_arrival(outcome, jobs.first_token),
        latency=_since_arrival(outcome, jobs.done),
        jobs_per_s=len(jobs.arrived) / max(1e-9, outcome.ended_at - jobs.arrived[0]),
        worker_s=outcome.worker_s,
        most_workers=outcome.most_workers,
        cold_starts=outcome.cold_starts,
        cost=cost,
        cost_per_1000=1000 * cost / len(jobs.arrived),
    )


def _since_arrival(outcome: Outcome, moments: Sequence[float]) -> Quantiles:
    ordered = sorted(moment - came for moment, came in zip(moments, outcome.jobs.arrived, strict=True))
    p50, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
    return Quantiles(p50, p95, p99)
