"""What a job says back, piece by piece: the vocabulary between the worker core and whatever delivers it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One output value of a job.

    `data` is JSON text (UTF-8) of the value, spliced into the wire unparsed; with `sse` it is one or more whole
    server-sent events instead, which travel as one JSON string. Neighbouring `mergeable` SSE outputs may be
    concatenated by whoever delivers them; anything else keeps its exact size. `streamed` outputs are delivered
    as they come, the others only with the final result.
    """

    data: bytes
    sse: bool = False
    mergeable: bool = False
    streamed: bool = True
