"""The jobs of a simulated day: when each arrives, how long its prompt and its answer are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job: seconds after the beginning, tokens of its prompt, tokens of its answer."""

    at_s: float
    prompt_tokens: int
    output_tokens: int


class Lengths(Protocol):
    """A distribution of token counts."""

    def draw(self, random: Random) -> int:
        """One count, at least 1."""


@dataclass(frozen=True, slots=True)
class FixedLength:
    """Every job has this many tokens."""

    tokens: int

    def draw(self, random: Random) -> int:
        """The same count each time."""
        return self.tokens


@dataclass(frozen=True, slots=True)
class UniformLength:
    """Each count from `low` to `high` is as likely as any other."""

    low: int
    high: int

    def draw(self, random: Random) -> int:
        """One count."""
        return random.randint(self.low, self.high)


@dataclass(frozen=True, slots=True)
class LogNormalLength:
    """Half of the counts lie below `median`; `sigma` is the spread of their logarithm. Cut off at `most`."""

    median: float
    sigma: float
    most: int

    def draw(self, random: Random) -> int:
        """One count."""
        return max(1, min(self.most, round(random.lognormvariate(math.log(self.median), self.sigma))))


def parse_lengths(text: str) -> Lengths:
    """`128`, `16-512` or `lognormal:200:0.8:4096`. Raises ValueError."""
    try:
        if text.startswith("lognormal:"):
            _, median, sigma, most = text.split(":")
            lengths: Lengths = LogNormalLength(float(median), float(sigma), int(most))
            valid = float(median) >= 1 and float(sigma) >= 0 and int(most) >= 1
        elif "-" in text:
            low, high = text.split("-")
            lengths, valid = UniformLength(int(low), int(high)), 1 <= int(low) <= int(high)
        else:
            lengths, valid = FixedLength(int(text)), int(text) >= 1
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            f'token lengths "{text}": expected a count (128), a range (16-512) or lognormal:MEDIAN:SIGMA:MOST'
        )
    return lengths


@dataclass(frozen=True, slots=True)
class RateStep:
    """Jobs a second from this moment on."""

    from_s: float
    per_s: float


def poisson_arrivals(
    steps: Sequence[RateStep], until_s: float, prompts: Lengths, outputs: Lengths, seed: int
) -> Iterator[Arrival]:
    """Independent arrivals at a rate that changes in steps. The same seed gives the same jobs."""
    random = Random(seed)
    ends = [*(step.from_s for step in steps[1:]), until_s]
    for step, end_s in zip(steps, ends, strict=True):
        now = step.from_s
        while step.per_s > 0 and (now := now + random.expovariate(step.per_s)) < min(end_s, until_s):
            yield Arrival(now, prompts.draw(random), outputs.draw(random))


def read_load(lines: Iterator[str]) -> list[Arrival]:
    """An operator's own load: lines of JSON with `at`, `prompt_tokens`, `output_tokens`. Raises ValueError."""
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            arrival = Arrival(float(row["at"]), int(row["prompt_tokens"]), int(row["output_tokens"]))
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"line {number} of the load: {line.strip()[:80]!r}; expected one JSON object a line, like "
                '{"at": 12.5, "prompt_tokens": 300, "output_tokens": 120}, with `at` in seconds'
            ) from None
        if arrival.at_s < 0 or arrival.prompt_tokens < 1 or arrival.output_tokens < 1:
            raise ValueError(
                f"line {number} of the load: expected `at` from 0 and token counts from 1, got {line.strip()[:80]!r}"
            )
        found.append(arrival)
    if not found:
        raise ValueError("the load has no jobs: expected one JSON object a line")
    return sorted(found, key=lambda arrival: arrival.at_s)
