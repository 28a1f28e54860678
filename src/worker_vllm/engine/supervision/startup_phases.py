"""How long each phase of a start takes, parsed from the engine's log: a line that vLLM writes ends each phase.

A phase that the engine skips (no compilation, no graphs) is not listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from worker_vllm.engine.child.deferred_arguments import IMPORTED

# The line that ends each phase, in order (vLLM 0.32.0). A later line also ends the phases before it.
PHASE_ENDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("import", re.compile(rf"^{IMPORTED}$|non-default args|vLLM API server version")),
    ("resolve", re.compile(r"Using max model len|Using max_model_len")),
    ("processes", re.compile(r"Starting to load model")),
    ("load", re.compile(r"Loading weights took|Model loading took")),
    ("compile", re.compile(r"torch\.compile (?:takes|took|and initial profiling run took)")),
    ("profile", re.compile(r"KV cache size: [\d,]+ tokens")),
    ("graphs", re.compile(r"Graph capturing finished")),
    ("prepare", re.compile(r"init engine \(profile, create kv cache, warmup model\) took")),
    ("serve", re.compile(r"Application startup complete")),
)
NAMES = tuple(name for name, _ in PHASE_ENDS)


LOADED = re.compile(r"Loading weights took (\d+(?:\.\d+)?) seconds")
# vLLM 0.32.0, compilation/backends.py and decorators.py.
REUSED = re.compile(r"Directly load (?:the compiled graph|the \S+-th graph|AOT compilation)")
BUILT = re.compile(r"Compiling a graph for compile range|Cache the graph of compile range")


@dataclass
class StartFigures:
    """Figures of a start that the engine's log has besides the phases."""

    weights_load_s: float | None = None  # of the slowest process
    compiled: str = ""  # "built", "reused", or empty for neither: nothing was compiled

    def read(self, line: str) -> None:
        """Read one line of the engine's log."""
        if found := LOADED.search(line):
            self.weights_load_s = max(self.weights_load_s or 0.0, float(found[1]))
        elif BUILT.search(line):
            self.compiled = "built"
        elif not self.compiled and REUSED.search(line):
            self.compiled = "reused"


@dataclass
class StartTimeline:
    """Seconds spent in each phase, in order; `clock` is monotonic, `began` its value when the process was spawned."""

    clock: Callable[[], float]
    began: float
    on_phase: Callable[[str, float], None] = lambda phase, took_s: None
    phases: list[tuple[str, float]] = field(default_factory=list)
    figures: StartFigures = field(default_factory=StartFigures)
    _next: int = 0

    def __post_init__(self) -> None:
        self._last = self.began

    @property
    def phase(self) -> str:
        """The current phase; `ready` after the last."""
        return NAMES[self._next] if self._next < len(NAMES) else "ready"

    def read(self, line: str) -> None:
        """Parse one line of the engine's log, and end the phase that it ends."""
        if self._next < len(PHASE_ENDS):
            self.figures.read(line)
        for index in range(self._next, len(PHASE_ENDS)):
            name, pattern = PHASE_ENDS[index]
            if pattern.search(line):
                self._next = index + 1
                self.end(name)
                return

    def end(self, name: str) -> None:
        """Record that a phase ended now, and report it to `on_phase`."""
        now = self.clock()
        self.phases.append((name, now - self._last))
        self.on_phase(name, now - self._last)
        self._last = now

    def summary(self) -> str:
        """One line: the total time and the time of each phase."""
        shares = ", ".join(f"{name} {took_s:.1f}" for name, took_s in self.phases)
        return f"{self._last - self.began:.1f} s ({shares})"
