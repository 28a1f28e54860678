"""The copy of a job's stream in its final result.

The platform keeps a job's pieces as they come and accepts 20 MB as a final result; a longer one would be answered
400 and the job would be COMPLETED without output. So the result of a longer stream is the protocol's empty aggregate,
`{"output": []}`, as runpod-python posts it without `return_aggregate_stream`: its pieces are the answer. A part of
the stream is never posted, since clients would take it for the complete output.
"""

from __future__ import annotations

from worker_vllm.jobs.output.size_limits import ENVELOPE_BYTES, RESULT_BYTES

MAX_BYTES = RESULT_BYTES - ENVELOPE_BYTES


class Aggregate:
    """Every value of a job in order; none once they exceed `max_bytes`, so that no memory is used for them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.values: list[bytes] = []
        self.overflowed = False
        self._bytes = 0
        self._max_bytes = max_bytes

    def add(self, value: bytes) -> bool:
        """Add a value. Returns whether this value exceeded the limit."""
        self._bytes += len(value) + 1
        if self.overflowed:
            return False
        if self._bytes > self._max_bytes:
            self.overflowed = True
            self.values.clear()
            return True
        self.values.append(value)
        return False
