"""An engine's event stream, read in arbitrary pieces, as runs of whole events. Pure; the reading is the caller's.

Per piece this is a search for the last boundary and a few for the words that matter; events are not looked into.
"""

from __future__ import annotations

from worker_vllm.errors import EngineError, WorkerError
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.engine_answers import reported
from worker_vllm.jobs.request.routes import Family, Route, speaks_anthropic


class EventRelay:
    """Feed it the stream's bytes, then `finish`. Once `failure` is set the stream has failed and has said so itself:
    nothing after it matters.

    Events that only open a chat (its roles) wait for the first content. Comments, as keep-alives are, are dropped.
    """

    __slots__ = ("_anthropic", "_ends_with_done", "_framer", "_last", "_opened", "_opening", "failure")

    def __init__(self, route: Route) -> None:
        self._framer = sse.Framer()
        self._opening = b""
        self._opened = route.family is not Family.CHAT
        self._anthropic = speaks_anthropic(route.path)
        self._ends_with_done = route.ends_with_done
        self._last = b""
        self.failure: WorkerError | None = None

    def feed(self, piece: bytes) -> bytes:
        """The events to pass on now; empty when there are none yet."""
        run = self._framer.feed(piece)
        if sse.has_comment(run):
            run = sse.without_comments(run)
        if sse.may_hold_error(run) and (cut := sse.cut_at_error(run)):
            self.failure = reported(cut[1], anthropic={"type": "error", "error": cut[1]} if self._anthropic else None)
            return self._opening + cut[0] + (sse.DONE if self._ends_with_done else b"")
        if not self._opened and run:
            self._opening += run
            if sse.only_opens(self._opening):
                return b""
            run, self._opening, self._opened = self._opening, b"", True
        if run:
            self._last = run
        return run

    def finish(self) -> bytes:
        """What was still held back when the stream ended. Raises EngineError when it ended without its end."""
        rest = self._opening
        if self._framer.rest.strip():
            rest += self._framer.rest + b"\n\n"
        if self._ends_with_done and not sse.is_done(rest or self._last):
            raise EngineError("the engine ended its stream without [DONE]")
        return rest
