"""How fast one engine is, as measured: tokens a second in all at each number of sequences, and its prompts' rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """With `sequences` running at once, the engine generates `tokens_per_s` in all."""

    sequences: int
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class ServiceCurve:
    """Measured points, in ascending order of sequences; between two points the rate is interpolated.

    `prompt_tokens_per_s` is the rate of prefill; infinite where it takes no time. `max_sequences` run at once, more
    wait inside the engine. `overhead_s` is what worker and platform add to each job. Raises ValueError
    where points are missing or out of order.
    """

    points: tuple[CurvePoint, ...]
    prompt_tokens_per_s: float
    max_sequences: int
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        counts = [point.sequences for point in self.points]
        if not counts or counts != sorted(set(counts)) or counts[0] < 1:
            raise ValueError(f"service curve: expected ascending counts of sequences from 1, got {counts}")
        if any(point.tokens_per_s <= 0 for point in self.points) or self.prompt_tokens_per_s <= 0:
            raise ValueError("service curve: expected rates above 0")
        if self.max_sequences < 1:
            raise ValueError(f"service curve: max_sequences {self.max_sequences}: expected at least 1")

    def total_rate(self, sequences: int) -> float:
        """Tokens a second of all sequences together."""
        counts = [point.sequences for point in self.points]
        position = bisect_right(counts, sequences)
        if position == 0:
            first = self.points[0]
            return first.tokens_per_s * sequences / first.sequences
        left = self.points[position - 1]
        if position == len(self.points):
            return left.tokens_per_s
        right = self.points[position]
        share = (sequences - left.sequences) / (right.sequences - left.sequences)
        return left.tokens_per_s + share * (right.tokens_per_s - left.tokens_per_s)

    def rates(self) -> Sequence[float]:
        """Tokens a second of each sequence while so many run; index 0 is unused."""
        return [0.0, *(self.total_rate(count) / count for count in range(1, self.max_sequences + 1))]

    def prompt_work(self, prompt_tokens: int) -> float:
        """The work of a prompt as generated tokens of the same time, when its sequence runs alone."""
        return prompt_tokens * self.total_rate(1) / self.prompt_tokens_per_s


def stepping_engine(step_s: float, max_sequences: int, overhead_s: float = 0.0) -> ServiceCurve:
    """An engine that gives every running sequence one token each step, as the echo engine with `--step-ms` does."""
    points = tuple(CurvePoint(count, count / step_s) for count in sorted({1, max_sequences}))
    return ServiceCurve(points, float("inf"), max_sequences, overhead_s)
