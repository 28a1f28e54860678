"""Goals: the median of the rounds decides, what was not measured is left out."""

from __future__ import annotations

import pytest

from benchmarks.goals import Goal, goals_table

ROWS = {
    "met at most": (Goal("a", 0.6, [0.5, 0.7, 0.4]), ["a", "≤ 0.6", "0.50 (0.40-0.70)", "yes"]),
    "missed at most": (Goal("a", 0.6, [0.61]), ["a", "≤ 0.6", "0.61 (0.61-0.61)", "**no**"]),
    "met at least": (Goal("a", 0.98, [0.98, 1.2], at_least=True), ["a", "≥ 0.98", "1.09 (0.98-1.20)", "yes"]),
    "missed at least": (Goal("a", 1.3, [1.0], at_least=True), ["a", "≥ 1.3", "1.00 (1.00-1.00)", "**no**"]),
    "with a unit": (Goal("a", 100, [72.4], unit="MB"), ["a", "≤ 100 MB", "72 MB (72-72)", "yes"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_goal_beside_what_was_measured(name: str) -> None:
    goal, expected = ROWS[name]
    assert goal.row() == expected


def test_goals_that_were_not_measured_are_left_out() -> None:
    (table,) = goals_table([Goal("a", 1, []), Goal("b", 1, [1.0])])
    assert [row[0] for row in table.rows] == ["b"]
    assert goals_table([Goal("a", 1, [])]) == []
