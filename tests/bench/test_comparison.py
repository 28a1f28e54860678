"""Rounds become medians with their spread, and ratios that pair the targets round by round."""

from __future__ import annotations

import pytest

from worker_vllm.bench.comparison import Spread, failures, rows
from worker_vllm.bench.samples import Percentiles, RoundFigures, Sample, percentiles, round_figures


def figures(target: str, number: int, rate: float) -> RoundFigures:
    """A round with so many requests a second."""
    zero = Percentiles(0, 0, 0, 0)
    return RoundFigures(target, number, 1, {}, 1.0, rate, 0, 0, 0, zero, zero, zero, None, {})


def test_ratios_are_of_one_round_each() -> None:
    """A machine that is slow in one round slows both targets: the ratio does not see it."""
    rounds = [figures("a", 1, 100), figures("b", 1, 50), figures("b", 2, 5), figures("a", 2, 10), figures("a", 3, 80)]
    rounds.append(figures("b", 3, 80))
    (row,) = rows(["a", "b"], rounds)
    assert row.measure.name == "requests/s"
    assert row.spreads == {"a": Spread(80, 10, 100), "b": Spread(50, 5, 80)}
    assert row.ratios == {"b": Spread(0.5, 0.5, 1.0)}


def test_failed_requests_count_only_as_failures() -> None:
    """Equal failures are counted together; rates and times are those of the others."""
    good = Sample(0.0, 1.0, 2.0, 3, 10, [0.5])
    samples = [good, good, Sample(0.0, failure="HTTP 503: full"), Sample(0.0, failure="HTTP 503: full")]
    found = round_figures("a", 1, samples, {"engine": 0.5})
    assert found.failures == {"HTTP 503: full": 2}
    assert (found.requests, found.requests_per_s, found.output_tokens_per_s) == (4, 1.0, 10.0)
    assert found.latency == Percentiles(2.0, 2.0, 2.0, 2.0)
    assert failures([found, found], "a") == {"HTTP 503: full": 4}


def test_a_round_without_an_answer_has_no_rate() -> None:
    """Nothing is divided by zero, nothing is invented."""
    found = round_figures("a", 1, [Sample(0.0, failure="refused")], {})
    assert (found.wall_s, found.requests_per_s, found.first_token) == (0.0, 0.0, Percentiles(0, 0, 0, 0))
    assert rows(["a"], [found]) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], (0, 0, 0, 0)), ([3.0], (3, 3, 3, 3)), (list(range(1, 101)), (51, 96, 100, 50.5))],
)
def test_percentiles(values: list[float], expected: tuple[float, ...]) -> None:
    """The value below which the share lies."""
    found = percentiles(values)
    assert (found.p50, found.p95, found.p99, found.mean) == expected
