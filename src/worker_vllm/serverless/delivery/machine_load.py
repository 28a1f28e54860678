"""Whether the machine is short of CPU time, by the idle time of its CPUs: `/proc/uptime` of Linux."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

UPTIME = Path("/proc/uptime")
SAMPLE_S = 0.2  # the kernel reports idle time in hundredths of a second
BUSY_IDLE_SHARE = 0.1  # with less of the CPUs' time idle, whatever runs here delays the engine


def machine_idle_s() -> float:
    """Seconds that the machine's CPUs have been idle, added up. Raises OSError or ValueError without them."""
    return float(UPTIME.read_text().split()[1])


class MachineLoad:
    """Compares the CPUs' idle time with the time that passes. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        idle_s: Callable[[], float] = machine_idle_s,
        cpus: int = os.cpu_count() or 1,
    ) -> None:
        self._clock = clock
        self._idle_s = idle_s
        self._cpus = cpus
        self._scarce = False
        self._at = clock()
        self._idle_at = self._read()

    def scarce(self) -> bool:
        """Whether nearly all CPU time was used, over the last SAMPLE_S or longer; False where that is not known."""
        now = self._clock()
        passed_s = now - self._at
        if passed_s >= SAMPLE_S:
            idle, before = self._read(), self._idle_at
            if idle is None or before is None:
                self._scarce = False
            else:
                self._scarce = idle - before < BUSY_IDLE_SHARE * passed_s * self._cpus
            self._at, self._idle_at = now, idle
        return self._scarce

    def _read(self) -> float | None:
        try:
            return self._idle_s()
        except (OSError, ValueError, IndexError):
            return None
