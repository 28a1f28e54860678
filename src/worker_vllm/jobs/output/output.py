"""The output values of a job, as the handler yields them and job delivery posts them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One output value of a job.

    `data` is JSON text (UTF-8) of the value, copied into the request body unparsed. With `sse` it is one or more
    complete server-sent events instead, which are sent as one JSON string. Job delivery may concatenate neighbouring
    `mergeable` outputs; every other output keeps its exact size. `streamed` outputs are delivered as they arrive, the
    others only with the final result.
    """

    data: bytes
    sse: bool = False
    mergeable: bool = False
    streamed: bool = True
