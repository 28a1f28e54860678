"""The platform's size limits: 1 MB for a piece of a stream, 20 MB for a result that is not streamed.

The platform drops larger ones without an error (a COMPLETED job without output), so the worker fails the job instead.
A complete stream may be larger: the platform stores its pieces one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

from worker_vllm.errors import RequestError
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.output import Output

PIECE_BYTES = 1_000_000
RESULT_BYTES = 20_000_000
ENVELOPE_BYTES = 10_000  # the request body around the output values
RUN_BYTES = 384 * 1024  # of events in one output: escaped as a JSON string, it may double


class ResultMeter:
    """Adds up the output bytes of one job."""

    __slots__ = ("_total",)

    def __init__(self) -> None:
        self._total = ENVELOPE_BYTES

    def add(self, output: Output) -> None:
        """Count one more output. Raises RequestError (413) when the platform would drop this output or the result."""
        size = wire_size(output)
        if output.streamed and size <= PIECE_BYTES:
            return
        if output.streamed:
            raise RequestError(
                f"a piece of the stream would have {size} bytes, the platform takes {PIECE_BYTES}; ask for a smaller "
                "max_batch_size or fewer log-probabilities",
                status=413,
            )
        self._total += size
        if self._total > RESULT_BYTES:
            raise RequestError(
                f"the answer is larger than the {RESULT_BYTES} bytes that the platform takes as a job's result; ask "
                "for fewer tokens, sequences, inputs or log-probabilities, ask for a stream, or split the request",
                status=413,
            )


def wire_size(output: Output) -> int:
    """The output's size in bytes as a JSON value: in the JSON string of events, quotes and line ends are escaped."""
    data = output.data
    if not output.sse:
        return len(data) + 1
    return len(data) + data.count(b'"') + data.count(b"\\") + data.count(b"\n") + data.count(b"\r") + 3


def cut_run(run: bytes) -> Iterator[bytes]:
    """The run in parts that fit into a piece, cut between events, or inside an event that is itself too large."""
    part = b""
    for event in sse.events(run):
        if part and len(part) + len(event) > RUN_BYTES:
            yield part
            part = b""
        part += event
        while len(part) > RUN_BYTES:
            cut = _character_start(part, RUN_BYTES)
            yield part[:cut]
            part = part[cut:]
    if part:
        yield part


def _character_start(data: bytes, position: int) -> int:
    """The nearest position at or before this one where a UTF-8 character starts."""
    while position > 0 and data[position] & 0xC0 == 0x80:
        position -= 1
    return position
