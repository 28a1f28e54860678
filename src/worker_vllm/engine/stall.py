"""Whether a busy engine still moves: read off its own counters, from what `/metrics` says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Sums over all engines (data parallel ones have a label each). vLLM 0.32.0, v1/metrics/loggers.py.
RUNNING = "vllm:num_requests_running"
# The last counts what each step works on: a prompt that takes minutes to read is progress before its first token.
MOVING = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
    "vllm:iteration_tokens_total_sum",
)
SAMPLE = re.compile(r"^(?P<name>[\w:]+)(?:\{[^}]*\})? (?P<value>[-+.\deE]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Progress:
    """How much runs, and a number that grows whenever anything is done."""

    running: float
    done: float


def read_progress(metrics: str) -> Progress:
    """The engine's progress out of the text of `/metrics`; zeros where it says nothing."""
    running = done = 0.0
    for sample in SAMPLE.finditer(metrics):
        if sample["name"] == RUNNING:
            running += float(sample["value"])
        elif sample["name"] in MOVING:
            done += float(sample["value"])
    return Progress(running, done)


class StallClock:
    """Tells how long the engine has been busy without doing anything. Times are monotonic seconds."""

    def __init__(self, longest_gap_s: float) -> None:
        self._longest_gap_s = longest_gap_s
        self._since: float | None = None
        self._seen_at = 0.0
        self._done = -1.0

    def see(self, progress: Progress, now: float) -> float:
        """Seconds of stall up to `now`. A machine that was frozen itself (a gap between two looks) starts anew."""
        frozen = now - self._seen_at > self._longest_gap_s
        moved = progress.done != self._done or progress.running == 0
        if moved or frozen or self._since is None:
            self._since = now
        self._seen_at, self._done = now, progress.done
        return now - self._since
