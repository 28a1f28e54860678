"""Reports of the engine's processes to the worker: lines of JSON in the engine's log, each after a mark.

The log is a pipe that the worker reads anyway, so that a report needs no connection, is never lost while both live,
and is read before the end of the process that wrote it is noticed. A report is trusted by what it names: the random
tag of a request, which only that request's client can learn, or a token that no client knows. Standard library only.
"""

from __future__ import annotations

import json
import os

MARK = b"\x1e"
LONGEST = 4000  # bytes: a pipe takes a line of this size whole, never mixed with another process's


def write_report(report: object, descriptor: int = 1) -> None:
    """Write one report. Longer ones, and those that nobody reads any more, are dropped."""
    line = MARK + json.dumps(report, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > LONGEST:
        return
    try:
        os.write(descriptor, line)
    except OSError:
        return
