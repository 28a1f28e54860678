"""What surrounds a round: entered before, left after it, whatever happens in between; targets in alternation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from worker_vllm.bench.load_plan import LoadPlan
from worker_vllm.bench.rounds import RoundProgress, Schedule, Site, measure
from worker_vllm.bench.samples import Sample
from worker_vllm.bench.targets import BenchTarget, TargetKind
from worker_vllm.simulation.arrivals import FixedLength

PLAN = LoadPlan(1, 1, None, FixedLength(1), FixedLength(1))
TARGETS = [BenchTarget(name, TargetKind.OPENAI, "http://198.51.100.1/v1") for name in "AB"]


@dataclass
class Written(Site):
    """Writes down what happens, and is a generator whose round `broken` fails."""

    broken: tuple[str, int] = ("", 0)
    events: list[str] = field(default_factory=list)

    async def enter(self, target: BenchTarget) -> list[int]:
        self.events.append(f"enter {target.name}")
        return []

    async def leave(self, target: BenchTarget, round_number: int) -> None:
        self.events.append(f"leave {target.name} {round_number}")

    async def send(self, target: BenchTarget, plan: LoadPlan, round_number: int) -> list[Sample]:
        if (target.name, round_number) == self.broken:
            raise RuntimeError("no answer")
        self.events.append(f"send {target.name}")
        return [Sample(0.0, first_at=0.1, ended_at=1.0, output_tokens=1)]


def turns(*names: str) -> Sequence[str]:
    return [f"{verb} {name}" for name in names for verb in ("enter", "send", "leave")]


async def test_each_round_is_surrounded_and_the_order_alternates() -> None:
    site = Written()
    rounds = await measure(TARGETS, PLAN, Schedule(2, 0, site), site, RoundProgress())
    assert [(one.target, one.number) for one in rounds] == [("A", 1), ("B", 1), ("B", 2), ("A", 2)]
    assert [event.rstrip(" 12") for event in site.events] == turns("A", "B", "B", "A")


async def test_a_round_that_fails_is_left_too() -> None:
    site = Written(broken=("B", 1))
    with pytest.raises(RuntimeError, match="no answer"):
        await measure(TARGETS, PLAN, Schedule(2, 0, site), site, RoundProgress())
    assert site.events == ["enter A", "send A", "leave A 1", "enter B", "leave B 1"]
