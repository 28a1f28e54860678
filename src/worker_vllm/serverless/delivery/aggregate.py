"""What a job's final result repeats of its stream.

The platform keeps a job's pieces as they come and takes 20 MB as a final result; a longer one would be answered 400
and the job COMPLETED without output. So the result of a longer stream is the protocol's empty aggregate,
`{"output": []}`, as runpod-python posts it without `return_aggregate_stream`: its pieces are the answer. A part of
the stream is never posted, since it would pass for the whole.
"""

from __future__ import annotations

from worker_vllm.jobs.output.size_limits import ENVELOPE_BYTES, RESULT_BYTES

MOST_BYTES = RESULT_BYTES - ENVELOPE_BYTES


class Aggregate:
    """Every value of a job in order, until they are more than the platform takes; then none, and none is held."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.values: list[bytes] = []
        self.overflown = False
        self._bytes = 0
        self._most_bytes = most_bytes

    def add(self, value: bytes) -> bool:
        """Hold one more value; whether it is the one that made them too many."""
        self._bytes += len(value) + 1
        if self.overflown:
            return False
        if self._bytes > self._most_bytes:
            self.overflown = True
            self.values.clear()
            return True
        self.values.append(value)
        return False
