"""When a machine counts as short of CPU time."""

from __future__ import annotations

import pytest

from worker_vllm.serverless.delivery.machine_load import MachineLoad, machine_idle_s


class Machine:
    """A clock, and the idle time of all CPUs."""

    def __init__(self) -> None:
        self.now = self.idle_s = 100.0
        self.unknown = False

    def clock(self) -> float:
        """The time."""
        return self.now

    def idle(self) -> float:
        """The idle time so far. Raises OSError where the system does not tell."""
        if self.unknown:
            raise FileNotFoundError("/proc/uptime")
        return self.idle_s


# Of four CPUs: seconds that pass, seconds of idle CPU in them, whether time is scarce then.
STEPS = [
    [(0.3, 0.6, False), (0.3, 0.1, True), (0.3, 0.2, False)],
    [(0.3, 0.0, True), (0.15, 0.4, True), (0.15, 0.0, False)],
    [(10.0, 3.9, True), (10.0, 4.1, False)],
]


@pytest.mark.parametrize("steps", STEPS, ids=["below a tenth", "not judged before the sample is over", "long gaps"])
def test_less_than_a_tenth_of_idle_time_is_scarce(steps: list[tuple[float, float, bool]]) -> None:
    """Each step is judged from the sample before."""
    machine = Machine()
    load = MachineLoad(machine.clock, machine.idle, cpus=4)
    found = []
    for passed_s, idle_s, _ in steps:
        machine.now += passed_s
        machine.idle_s += idle_s
        found.append(load.scarce())
    assert found == [scarce for _, _, scarce in steps]


def test_a_system_that_tells_no_idle_time_is_never_short() -> None:
    """The lateness of the worker's own timers decides there."""
    machine = Machine()
    machine.unknown = True
    load = MachineLoad(machine.clock, machine.idle, cpus=4)
    machine.now += 1
    assert not load.scarce()


def test_a_read_that_fails_is_not_the_last_word() -> None:
    """Without a free descriptor, say: unknown until two reads have succeeded again."""
    machine = Machine()
    load = MachineLoad(machine.clock, machine.idle, cpus=4)
    found = []
    for unknown in (False, True, False, False):
        machine.unknown = unknown
        machine.now += 1
        found.append(load.scarce())
    assert found == [True, False, False, True]


def test_this_machine_tells_its_idle_time() -> None:
    """It never falls."""
    first = machine_idle_s()
    assert 0 < first <= machine_idle_s()
