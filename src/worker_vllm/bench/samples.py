"""What one request showed, and the figures of one round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker_vllm.simulation.percentile import percentile


@dataclass(slots=True)
class Sample:
    """One request: seconds (monotonic) at which it was sent, gave its first token, ended; its tokens; its failure.

    `gaps` are seconds between two arrivals of content. `ages` are seconds between the making of a token and its
    arrival, where the engine stamps its tokens.
    """

    asked_at: float
    first_at: float | None = None
    ended_at: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    gaps: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds below which half, 95% and 99% of the values lie, and their mean; all 0 where there are none."""

    p50: float
    p95: float
    p99: float
    mean: float


def percentiles(values: Sequence[float]) -> Percentiles:
    """The percentiles of unordered values."""
    if not values:
        return Percentiles(0.0, 0.0, 0.0, 0.0)
    ordered = sorted(values)
    p50, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
    return Percentiles(p50, p95, p99, sum(ordered) / len(ordered))


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """One round at one target. Times in seconds; `cpu_s` by process name, for the processes that were visible."""

    target: str
    number: int
    requests: int
    failures: dict[str, int]
    wall_s: float
    requests_per_s: float
    output_tokens_per_s: float
    output_tokens: int
    prompt_tokens: int
    first_token: Percentiles
    gap: Percentiles
    latency: Percentiles
    age: Percentiles | None
    cpu_s: dict[str, float]


def round_figures(target: str, number: int, samples: Sequence[Sample], cpu_s: dict[str, float]) -> RoundFigures:
    """Summarise the samples of a round. Failed requests count only as failures."""
    good = [sample for sample in samples if sample.failure is None and sample.ended_at is not None]
    failures: dict[str, int] = {}
    for sample in samples:
        if sample.failure is not None:
            failures[sample.failure] = failures.get(sample.failure, 0) + 1
    ends = [sample.ended_at for sample in good if sample.ended_at is not None]
    wall = max(ends) - min(sample.asked_at for sample in samples) if ends else 0.0
    tokens = sum(sample.output_tokens for sample in good)
    ages = [age for sample in good for age in sample.ages]
    return RoundFigures(
        target=target,
        number=number,
        requests=len(samples),
        failures=failures,
        wall_s=wall,
        requests_per_s=len(good) / wall if wall else 0.0,
        output_tokens_per_s=tokens / wall if wall else 0.0,
        output_tokens=tokens,
        prompt_tokens=sum(sample.prompt_tokens for sample in good),
        first_token=percentiles([s.first_at - s.asked_at for s in good if s.first_at is not None]),
        gap=percentiles([gap for sample in good for gap in sample.gaps]),
        latency=percentiles([s.ended_at - s.asked_at for s in good if s.ended_at is not None]),
        age=percentiles(ages) if ages else None,
        cpu_s=cpu_s,
    )
