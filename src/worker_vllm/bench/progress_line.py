"""One line that says how far a run is, rewritten in place on a terminal; a line for each round elsewhere."""

from __future__ import annotations

from typing import TextIO

from worker_vllm.bench.rounds import RoundProgress


class ProgressLine(RoundProgress):
    """Writes to a text stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rewrites = stream.isatty()
        self._title = ""
        self._requests = 0
        self._ended = 0

    def begin(self, target: str, round_number: int, requests: int) -> None:
        """Name the target and the round."""
        self._title = f"{target}: {f'round {round_number}' if round_number else 'warm-up'}"
        self._requests, self._ended = requests, 0
        if self._rewrites:
            self._show()
        else:
            self._stream.write(f"{self._title}, {requests} requests\n")
            self._stream.flush()

    def ended(self) -> None:
        """Count a request."""
        self._ended += 1
        if self._rewrites and (self._ended == self._requests or self._ended % max(1, self._requests // 50) == 0):
            self._show()

    def close(self) -> None:
        """Clear the line."""
        if self._rewrites:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _show(self) -> None:
        self._stream.write(f"\r\x1b[K{self._title}  {self._ended}/{self._requests}")
        self._stream.flush()
