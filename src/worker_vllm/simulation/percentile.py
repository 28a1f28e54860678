"""The percentile that every figure of simulation, bench and benchmarks is."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value of an ascending, non-empty series below which that share of it lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
