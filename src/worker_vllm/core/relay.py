"""An engine's event stream as outputs: whole events, as bytes, as many at once as have arrived.

Per read this is a search for the last boundary and two for the words that matter; events are not looked into.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from worker_vllm.engine.base import EngineResponse
from worker_vllm.errors import EngineError, WorkerError
from worker_vllm.jobs import sse
from worker_vllm.jobs.answers import reported
from worker_vllm.jobs.routes import Family, Route


class ToldError(Exception):
    """The job has failed with `error`, and its stream says so already."""

    def __init__(self, error: WorkerError) -> None:
        super().__init__(str(error))
        self.error = error


async def runs(response: EngineResponse, route: Route) -> AsyncGenerator[bytes, None]:
    """Runs of whole events. Raises EngineError when the stream breaks off or lacks its end.

    Events that only open a chat (its roles) wait for the first content. Comments are dropped. A run that reports
    an error is the last one; ToldError is raised after it.
    """
    framer = sse.Framer()
    opening = b""
    opened = route.family is not Family.CHAT
    last = b""
    async for chunk in response.chunks():
        run = framer.feed(chunk)
        if sse.has_comment(run):
            run = sse.without_comments(run)
        if not run:
            continue
        if sse.may_hold_error(run) and (cut := sse.cut_at_error(run)):
            yield opening + cut[0] + (sse.DONE if route.ends_with_done else b"")
            raise ToldError(reported(cut[1]))
        if not opened:
            opening += run
            if sse.only_opens(opening):
                continue
            run, opening, opened = opening, b"", True
        last = run
        yield run
    rest = opening + (framer.rest + b"\n\n" if framer.rest.strip() else b"")
    if rest:
        yield rest
    if route.ends_with_done and not sse.is_done(rest or last):
        raise EngineError("the engine ended its stream without [DONE]")
