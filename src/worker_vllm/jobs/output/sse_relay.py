"""Turns the chunks of an engine's event stream into runs of complete events. Pure: the caller reads the stream.

The cost per chunk is one search for the last boundary and a few for marker words; events are not parsed.
"""

from __future__ import annotations

from collections.abc import Callable

from worker_vllm.errors import EngineError, WorkerError
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.engine_answers import error_from_object
from worker_vllm.jobs.request.routes import Family, Route, speaks_anthropic

LAST_BYTES = 64  # of the latest events, where `[DONE]` is searched; the rest is not kept


def unredacted(value: object) -> object:
    """The value unchanged."""
    return value


class EventRelay:
    """Call `feed` with each chunk, then `finish`. Once `failure` is set, the stream contains the engine's error
    event, and everything after it is ignored.

    The events that open a chat with its roles are held until the first content. Comments (keep-alives) are dropped.
    `redact` removes secrets from the error event.
    """

    __slots__ = ("_anthropic", "_ends_with_done", "_framer", "_last", "_opened", "_opening", "_redact", "failure")

    def __init__(self, route: Route, redact: Callable[[object], object] = unredacted) -> None:
        self._framer = sse.Framer()
        self._opening = b""
        self._opened = route.family is not Family.CHAT
        self._anthropic = speaks_anthropic(route.path)
        self._ends_with_done = route.ends_with_done
        self._redact = redact
        self._last = b""
        self.failure: WorkerError | None = None

    def feed(self, chunk: bytes) -> bytes:
        """The events to pass on now; empty when there are none."""
        run = self._framer.feed(chunk)
        if sse.has_comment(run):
            run = sse.without_comments(run)
        if sse.may_hold_error(run) and (cut := sse.cut_at_error(run)):
            run, event, error = cut
            run += sse.with_changed_data(event, self._redact)
            body = {"type": "error", "error": error} if self._anthropic else None
            self.failure = error_from_object(error, anthropic=body)
            return self._opening + run + (sse.DONE if self._ends_with_done else b"")
        if not self._opened and run:
            self._opening += run
            if sse.only_roles(self._opening):
                return b""
            run, self._opening, self._opened = self._opening, b"", True
        if run:
            self._last = run[-LAST_BYTES:]
        return run

    def finish(self) -> bytes:
        """The events still held when the stream ends. Raises EngineError when the route's `[DONE]` is missing."""
        rest = self._opening
        if self._framer.rest.strip():
            rest += self._framer.rest + b"\n\n"
        if self._ends_with_done and not sse.is_done(rest or self._last):
            raise EngineError("the engine ended its stream without [DONE]")
        return rest
