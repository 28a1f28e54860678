"""W3C trace context: the ids of a job's trace, from a `traceparent` header and to one. Standard library only."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span: its trace, its own id, its parent's id where it has one, and whether it is exported."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header for requests that are made on this span's behalf."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self) -> TraceContext:
        """A new span below this one."""
        return TraceContext(self.trace_id, new_id(8), self.span_id, self.sampled)


def new_trace(*, sampled: bool = True) -> TraceContext:
    """The first span of a new trace."""
    return TraceContext(new_id(16), new_id(8), None, sampled)


def parse(header: str) -> TraceContext | None:
    """The caller's span in a `traceparent` header; None where the header is invalid."""
    found = TRACEPARENT.fullmatch(header.strip())
    if found is None or found[1] == "ff" or not int(found[2], 16) or not int(found[3], 16):
        return None
    return TraceContext(found[2], found[3], None, bool(int(found[4], 16) & 1))


def new_id(size: int) -> str:
    """A random id of that many bytes, which is never zero."""
    found = secrets.token_hex(size)
    return found if int(found, 16) else new_id(size)
