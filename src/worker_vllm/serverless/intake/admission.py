"""How many jobs this worker may hold: a pure policy over what the engine reports, so that none are hoarded."""

from __future__ import annotations

from worker_vllm.engine.interface import EngineLoad

FIRST_WINDOW = 64  # where the engine's capacity is not known; vLLM runs hundreds of sequences at once by default
KV_FULL = 0.95
SPARE_SHARE = 8  # one job in eight may wait inside the engine, so that it never idles for want of the next one


class Admission:
    """A window of jobs, opened by an engine that keeps up and narrowed by one that makes them wait.

    `most` is the operator's cap. `capacity` is how many sequences the engine runs at once, where that is known: the
    first take never asks for more, and the window never grows beyond it and the spare. Whoever starts and ends jobs
    keeps `held` and `undelivered` up to date: the jobs that the engine works on, and those whose result the platform
    has not accepted for a while. Both fill the window, so that a worker whose results go nowhere stops taking.
    """

    def __init__(self, most: int, capacity: int | None = None) -> None:
        self.held = 0
        self.undelivered = 0
        self.open = True  # while the engine can serve
        self.window = min(most, FIRST_WINDOW if capacity is None else capacity)
        self.load: EngineLoad | None = None
        self._most = most if capacity is None else min(most, capacity + _spare(capacity))

    @property
    def free(self) -> int:
        """How many more jobs may be taken."""
        return max(0, self.window - self.held - self.undelivered) if self.open else 0

    @property
    def wants_report(self) -> bool:
        """Whether the window is full but not at its end, so that the engine's load decides."""
        return self.held >= self.window and self.window < self._most

    def hear(self, load: EngineLoad | None) -> None:
        """Move the window by what the engine reports; None is an engine that tells nothing, where the cap rules."""
        self.load = load
        if load is None:
            self.window = self._most
        elif load.waiting > 0 or load.kv_used >= KV_FULL:
            running = max(1, self.held - load.waiting)
            self.window = min(self._most, running + _spare(running))
        elif self.held >= self.window:
            self.window = min(self._most, 2 * self.held)

    def refused(self) -> None:
        """The engine would not even queue one of the jobs held."""
        self.window = min(self.window, max(1, self.held - 1))


def _spare(running: int) -> int:
    return max(1, running // SPARE_SHARE)
