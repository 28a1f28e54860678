"""Where the start's time goes: phases read off the engine's own log, each ended by a line that vLLM writes.

A phase that the engine skips (no compilation, no graphs) takes no time and is not named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from worker_vllm.engine.child.deferred_arguments import IMPORTED

# What ends each phase, in order (vLLM 0.32.0). A later mark also ends the phases before it.
MARKS: tuple[tuple[str, re.Pattern[str]], ...] = (
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
NAMES = tuple(name for name, _ in MARKS)


@dataclass
class StartTimeline:
    """Seconds spent in each phase, in the order they passed. `clock` is monotonic."""

    clock: Callable[[], float]
    began: float
    on_phase: Callable[[str, float], None] = lambda phase, took_s: None
    phases: list[tuple[str, float]] = field(default_factory=list)
    _next: int = 0

    def __post_init__(self) -> None:
        self._last = self.began

    @property
    def phase(self) -> str:
        """The phase that the engine is in now."""
        return NAMES[self._next] if self._next < len(NAMES) else "ready"

    def read(self, line: str) -> None:
        """Take one line of the engine's log."""
        for index in range(self._next, len(MARKS)):
            name, mark = MARKS[index]
            if mark.search(line):
                self._next = index + 1
                self.end(name)
                return

    def end(self, name: str) -> None:
        """A phase ended now."""
        now = self.clock()
        self.phases.append((name, now - self._last))
        self.on_phase(name, now - self._last)
        self._last = now

    def summary(self) -> str:
        """One line: the whole time and each phase's share."""
        shares = ", ".join(f"{name} {took_s:.1f}" for name, took_s in self.phases)
        return f"{self._last - self.began:.1f} s ({shares})"
