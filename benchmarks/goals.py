"""The bounds that a benchmark is held against, and what it measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.record import Table


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound and the rounds' figures, of which the median counts; without figures it was not measured."""

    what: str
    bound: float
    values: Sequence[float]
    at_least: bool = False
    unit: str = ""

    def met(self) -> bool:
        """Whether the median keeps the bound."""
        found = median(self.values)
        return found >= self.bound if self.at_least else found <= self.bound

    def row(self) -> list[str]:
        """Goal, bound, median with its range, and whether it is met."""
        unit = f" {self.unit}" if self.unit else ""
        digits = ".2f" if abs(self.bound) < 10 else ".0f"
        low, middle, high = min(self.values), median(self.values), max(self.values)
        measured = f"{middle:{digits}}{unit} ({low:{digits}}-{high:{digits}})"
        return [self.what, f"{'≥' if self.at_least else '≤'} {self.bound:g}{unit}", measured, self.verdict()]

    def verdict(self) -> str:
        """In a word."""
        return "yes" if self.met() else "**no**"


def goals_table(goals: Sequence[Goal]) -> list[Table]:
    """The goals that were measured as a table; none where nothing was."""
    rows = [goal.row() for goal in goals if goal.values]
    return [Table("Goals, by the median of the rounds", ["goal", "bound", "measured", "met"], rows)] if rows else []
