"""An answer of the supervised engine: counts who waits for it, and says why the engine died where it breaks off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from worker_vllm.engine.interface import EngineResponse
from worker_vllm.engine.supervision.stall_detector import Waits
from worker_vllm.errors import EngineError, EngineUnavailable, WorkerError

EVENTS = "text/event-stream"
EVENT_END = b"\n\n"
# In JSON no text can hold these bytes, since its quotes are escaped: only a key or a value of its own is an error.
ERROR = b'"error"'
# The types of errors that are the server's own: OpenAI's and Anthropic's dialect (0.32.0).
OWN = ("InternalServerError", "internal_error")


class SupervisedResponse:
    """An answer of the engine; `explain` turns an error into the engine's end, if that is what it was."""

    __slots__ = ("_explain", "_inner", "_waits")

    def __init__(
        self, inner: EngineResponse, waits: Waits, explain: Callable[[WorkerError], Awaitable[WorkerError]]
    ) -> None:
        self._inner = inner
        self._waits = waits
        self._explain = explain

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._inner.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, names in lower case."""
        return self._inner.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises EngineError, or EngineUnavailable with the diagnosis.

        Its reader waits for the engine only between pieces, and for somebody else while it has one.
        """
        waits = self._waits
        pieces = self._inner.chunks()
        waits.begin()
        try:
            async for piece in pieces:
                chunk, told = piece, None
                if ERROR in chunk and self.headers.get("content-type", "").startswith(EVENTS):
                    chunk, told = await self._without_own_error(chunk, pieces)
                waits.end()
                try:
                    yield chunk
                finally:
                    waits.begin()
                if told is not None:
                    raise told
        except EngineError as error:
            raise await self._explain(error) from error
        finally:
            waits.end()

    async def read(self) -> bytes:
        """The whole body. Raises as `chunks` does."""
        self._waits.begin()
        try:
            return await self._inner.read()
        except EngineError as error:
            raise await self._explain(error) from error
        finally:
            self._waits.end()

    def close(self) -> None:
        """Give the response up at once."""
        self._inner.close()

    async def _without_own_error(
        self, chunk: bytes, pieces: AsyncIterator[bytes]
    ) -> tuple[bytes, EngineUnavailable | None]:
        """Where the engine tells its own failure and is dead: what came before, and why. Else what came."""
        if not chunk.endswith(EVENT_END):  # cut within an event
            chunk += await anext(pieces, b"")
        before = before_own_error(chunk)
        if before is None:
            return chunk, None
        told = await self._explain(EngineError("the engine says that it failed"))
        return (before, told) if isinstance(told, EngineUnavailable) else (chunk, None)


def before_own_error(events: bytes) -> bytes | None:
    """What comes before the first event in which the server tells an error of its own; None without such an event."""
    start = 0
    while start < len(events):
        end = events.find(EVENT_END, start)
        end = len(events) if end < 0 else end + len(EVENT_END)
        if is_own_error(events[start:end]):
            return events[:start]
        start = end
    return None


def is_own_error(event: bytes) -> bool:
    """Whether one server-sent event is an error object that blames the server: not the request, and no answer."""
    if ERROR not in event:
        return False
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        told: Any = json.loads(data)
    except ValueError:
        return False
    error = told.get("error") if isinstance(told, dict) else None
    if not isinstance(error, dict):
        return False
    code = error.get("code")
    return error.get("type") in OWN or (isinstance(code, int) and code >= 500)
