"""Rounds to medians with their spread, and each target beside the first one, round by round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from worker_vllm.bench.samples import RoundFigures
from worker_vllm.bench.visible_processes import total


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the rounds, the lowest and the highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a round: how it is read, its unit, whether more is better."""

    name: str
    unit: str
    read: Callable[[RoundFigures], float | None]
    more_is_better: bool = False


def _milliseconds(read: Callable[[RoundFigures], float | None]) -> Callable[[RoundFigures], float | None]:
    def scaled(figures: RoundFigures) -> float | None:
        value = read(figures)
        return None if value is None else 1000 * value

    return scaled


def _cpu_per_token(figures: RoundFigures) -> float | None:
    seconds = total(figures.cpu_s)
    return 1e6 * seconds / figures.output_tokens if seconds and figures.output_tokens else None


MEASURES = (
    Measure("requests/s", "/s", lambda f: f.requests_per_s, more_is_better=True),
    Measure("output tokens/s", "/s", lambda f: f.output_tokens_per_s, more_is_better=True),
    Measure("first token p50", "ms", _milliseconds(lambda f: f.first_token.p50)),
    Measure("first token p99", "ms", _milliseconds(lambda f: f.first_token.p99)),
    Measure("gap p50", "ms", _milliseconds(lambda f: f.gap.p50)),
    Measure("gap p99", "ms", _milliseconds(lambda f: f.gap.p99)),
    Measure("latency p50", "ms", _milliseconds(lambda f: f.latency.p50)),
    Measure("latency p99", "ms", _milliseconds(lambda f: f.latency.p99)),
    Measure("age p99", "ms", _milliseconds(lambda f: f.age.p99 if f.age else None)),
    Measure("CPU a token", "us", _cpu_per_token),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: each target's spread, and each later target's ratio to the first, None where it is not known."""

    measure: Measure
    spreads: dict[str, Spread | None]
    ratios: dict[str, Spread | None]


def rows(names: Sequence[str], rounds: Sequence[RoundFigures]) -> list[Row]:
    """Every measure that at least one target has."""
    by = {name: sorted((f for f in rounds if f.target == name), key=lambda f: f.number) for name in names}
    found = []
    for measure in MEASURES:
        values = {name: [measure.read(figures) for figures in by[name]] for name in names}
        spreads = {name: _spread(series) for name, series in values.items()}
        if any(spreads.values()):
            first = values[names[0]]
            ratios = {name: _ratio(values[name], first) for name in names[1:]}
            found.append(Row(measure, spreads, ratios))
    return found


def failures(rounds: Sequence[RoundFigures], name: str) -> dict[str, int]:
    """A target's failures over all rounds."""
    found: dict[str, int] = {}
    for figures in rounds:
        if figures.target == name:
            for text, number in figures.failures.items():
                found[text] = found.get(text, 0) + number
    return found


def _ratio(series: Sequence[float | None], first: Sequence[float | None]) -> Spread | None:
    pairs = [(own, other) for own, other in zip(series, first, strict=True) if own is not None and other]
    return _spread([own / other for own, other in pairs])


def _spread(series: Sequence[float | None]) -> Spread | None:
    known = [value for value in series if value is not None]
    return Spread(median(known), min(known), max(known)) if known and any(known) else None
