"""A response of the supervised engine: counts pending reads, and raises the diagnosis where the engine dies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from worker_vllm.engine.interface import EngineResponse
from worker_vllm.engine.supervision.stall_detector import PendingReads
from worker_vllm.errors import EngineError, EngineUnavailable, WorkerError

EVENT_STREAM = "text/event-stream"
EVENT_END = b"\n\n"
# JSON escapes the quotes inside text, so these bytes can only be a key or a complete value.
ERROR = b'"error"'
# Types of errors that the server itself caused, in OpenAI's and Anthropic's format (vLLM 0.32.0).
SERVER_ERRORS = ("InternalServerError", "internal_error")


class SupervisedResponse:
    """A response of the engine; `explain` replaces an error by the diagnosis if the engine has died.

    `on_end` is called when it is read, has failed, or is closed; several times at most.
    """

    __slots__ = ("_explain", "_inner", "_on_end", "_pending")

    def __init__(
        self,
        inner: EngineResponse,
        pending: PendingReads,
        explain: Callable[[WorkerError], Awaitable[WorkerError]],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._inner = inner
        self._on_end = on_end
        self._pending = pending
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

        A read is pending only while the consumer waits for a chunk, not while it processes one.
        """
        pending = self._pending
        chunks = self._inner.chunks()
        pending.start()
        try:
            async for chunk in chunks:
                forwarded, failure = chunk, None
                if ERROR in chunk and self.headers.get("content-type", "").startswith(EVENT_STREAM):
                    forwarded, failure = await self._without_server_error(chunk, chunks)
                pending.end()
                try:
                    yield forwarded
                finally:
                    pending.start()
                if failure is not None:
                    raise failure
        except EngineError as error:
            raise await self._explain(error) from error
        finally:
            pending.end()
            self._on_end()

    async def read(self) -> bytes:
        """The complete body. Raises as `chunks` does."""
        self._pending.start()
        try:
            return await self._inner.read()
        except EngineError as error:
            raise await self._explain(error) from error
        finally:
            self._pending.end()
            self._on_end()

    def close(self) -> None:
        """Release the response at once."""
        self._inner.close()
        self._on_end()

    async def _without_server_error(
        self, chunk: bytes, chunks: AsyncIterator[bytes]
    ) -> tuple[bytes, EngineUnavailable | None]:
        """The events before a server error and the diagnosis, if the engine has died; else the chunk unchanged."""
        if not chunk.endswith(EVENT_END):  # cut within an event
            chunk += await anext(chunks, b"")
        before = before_server_error(chunk)
        if before is None:
            return chunk, None
        failure = await self._explain(EngineError("the engine reports an internal error in its stream"))
        return (before, failure) if isinstance(failure, EngineUnavailable) else (chunk, None)


def before_server_error(events: bytes) -> bytes | None:
    """The bytes before the first event that is a server error; None without such an event."""
    start = 0
    while start < len(events):
        end = events.find(EVENT_END, start)
        end = len(events) if end < 0 else end + len(EVENT_END)
        if is_server_error(events[start:end]):
            return events[:start]
        start = end
    return None


def is_server_error(event: bytes) -> bool:
    """Whether one server-sent event is an error object that the server, not the request, caused."""
    if ERROR not in event:
        return False
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        content: Any = json.loads(data)
    except ValueError:
        return False
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return False
    code = error.get("code")
    return error.get("type") in SERVER_ERRORS or (isinstance(code, int) and code >= 500)
