"""Points in time by key."""

from __future__ import annotations

from worker_vllm.gateway.state.deadlines import Deadlines


def test_the_latest_setting_holds() -> None:
    """Moving a key forth or back, and removing it, leaves nothing of the old time."""
    deadlines = Deadlines()
    for key, when in (("a", 5.0), ("b", 1.0), ("a", 3.0), ("b", 9.0), ("c", 2.0)):
        deadlines.set(key, when)
    deadlines.remove("c")
    assert deadlines.next() == 3
    assert deadlines.due(2.9) == []
    assert deadlines.due(9) == ["a", "b"]
    assert deadlines.next() is None


def test_memory_stays_in_proportion_to_the_keys() -> None:
    """A day of jobs with a ttl of a day does not pile up."""
    deadlines = Deadlines()
    for n in range(10_000):
        deadlines.set(f"job{n}", n + 86_400.0)
        deadlines.set(f"job{n}", n + 60.0)
        deadlines.remove(f"job{n}")
        deadlines.set("worker", float(n))
    assert len(deadlines._heap) <= 70
