"""Ids of a fleet's workers, and how many losses of one place in it are forgiven."""

from __future__ import annotations

import pytest

from worker_vllm.local.fleet.restarts import Restarts


def test_a_new_process_has_a_new_id() -> None:
    restarts = Restarts()
    assert [restarts.next_id("worker", number) for number in (1, 2, 1, 1, 2)] == [
        "worker-1",
        "worker-2",
        "worker-1-2",
        "worker-1-3",
        "worker-2-2",
    ]


LOSSES = [
    ([(1, 0), (1, 1), (1, 2)], [True, True, True]),
    ([(1, 0), (1, 1), (1, 2), (1, 3)], [True, True, True, False]),
    ([(1, 0), (1, 1), (1, 2), (2, 3)], [True, True, True, True]),
    ([(1, 0), (1, 1), (1, 2), (1, 600)], [True, True, True, True]),
    ([(1, 0), (1, 1), (1, 2), (1, 599.9)], [True, True, True, False]),
]


@pytest.mark.parametrize(("losses", "allowed"), LOSSES)
def test_three_losses_in_ten_minutes_are_allowed(losses: list[tuple[int, float]], allowed: list[bool]) -> None:
    """Of each place for itself."""
    restarts = Restarts()
    assert [restarts.allows(number, now) for number, now in losses] == allowed
