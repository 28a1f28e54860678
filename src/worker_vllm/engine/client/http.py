"""The engine over HTTP: a Unix socket or http://host:port, pooled, raw bytes, closing is cancelling.

Knows nothing of what the bodies mean. A response's body is read only as fast as its reader asks for it: beyond
128 KiB unread bytes the socket is paused, and the engine feels it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import cast
from weakref import WeakSet

import aiohttp

from worker_vllm.engine.interface import EngineRefused, EngineRequest
from worker_vllm.errors import EngineError, EngineUnavailable

KEEP_ALIVE_S = 15.0  # the child is started with a longer one, so that the side which closes first is this one
READ_BUFFER_BYTES = 64 * 1024  # aiohttp pauses the socket at twice this
CONNECT_TIMEOUT_S = 10.0
NOBODY_LISTENS = (errno.ECONNREFUSED, errno.ENOENT)  # not EAGAIN: that is a server with a full queue of connections
# The last is aiohttp's word for a connection that was closed on this side while somebody read.
BROKE_OFF = (aiohttp.ClientError, OSError, RuntimeError)
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)


class HttpEngine:
    """An engine that listens at `url`: `unix:/path/to.sock` or `http://host:port`.

    `headers` go with every request (an attached server's API key). Create and close it inside a running loop.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._socket_path = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://engine" if self._socket_path else url.rstrip("/")
        self._headers = {"Accept-Encoding": "identity", **(headers or {})}
        self._pooled = self._session(force_close=False)
        self._single = self._session(force_close=True)
        self._answers: WeakSet[aiohttp.ClientResponse] = WeakSet()
        self._closed = False

    async def request(self, request: EngineRequest) -> HttpResponse:
        """Return once status and headers are here; see `Engine.request`.

        A pooled connection that dies before any byte of the answer was most likely closed by the other side while
        it was idle; the request goes out once more, on a new connection.
        """
        trace = SimpleNamespace(reused=False)
        try:
            return await self._send(self._pooled, request, trace)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as broken:
            if not trace.reused or isinstance(broken, aiohttp.ClientConnectorError):
                raise unavailable(self.url, broken) from broken
        except (TimeoutError, aiohttp.ClientError) as broken:
            raise unavailable(self.url, broken) from broken
        try:
            return await self._send(self._single, request, trace)
        except (TimeoutError, aiohttp.ClientError) as broken:
            raise unavailable(self.url, broken) from broken

    async def aclose(self) -> None:
        """Close every connection; whoever reads an answer that is not whole yet is told, now or when asking next.

        aiohttp alone would leave him waiting: it forgets the answer with the connection.
        """
        self._closed = True
        for answer in list(self._answers):
            if not answer.content.is_eof():
                answer.content.set_exception(aiohttp.ClientConnectionError("the connection to it was closed"))
        await self._pooled.close()
        await self._single.close()

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        keep_alive = None if force_close else KEEP_ALIVE_S
        connector: aiohttp.BaseConnector
        if self._socket_path:
            connector = aiohttp.UnixConnector(
                self._socket_path, limit=0, force_close=force_close, keepalive_timeout=keep_alive
            )
        else:
            connector = aiohttp.TCPConnector(limit=0, force_close=force_close, keepalive_timeout=keep_alive)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_mark_reused)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=NO_TIMEOUT,
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=False,
            headers=self._headers,
            skip_auto_headers=("User-Agent",),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
        )

    async def _send(
        self, session: aiohttp.ClientSession, request: EngineRequest, trace: SimpleNamespace
    ) -> HttpResponse:
        if self._closed:  # a closed session raises RuntimeError
            raise aiohttp.ClientConnectionError("the connection to it was closed")
        answer = await session.request(
            request.method,
            self._base + request.path,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            trace_request_ctx=trace,
        )
        self._answers.add(answer)
        return HttpResponse(answer)


class HttpResponse:
    """An answer of an HTTP engine whose body is still arriving."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, names in lower case."""
        return {name.lower(): value for name, value in self._answer.headers.items()}

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives: each piece is everything that came since the last one was asked for."""
        return _Pieces(self._answer)

    async def read(self) -> bytes:
        """The whole body."""
        try:
            return await self._answer.read()
        except BROKE_OFF as broken:
            raise broke_off(broken) from broken

    def close(self) -> None:
        """Drop the connection of an unfinished answer, which aborts it in the engine; a finished one is kept."""
        self._answer.close()


class _Pieces:
    """An iterator, not a generator: it holds nothing that would have to be closed when its reader stops early.

    The socket is read only while somebody waits for a piece: what comes meanwhile gathers in the kernel and is read
    at once, where otherwise every event would wake this process.
    """

    __slots__ = ("_answer", "_content")

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._content = answer.content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._set_reading(True)
        try:
            piece = await self._content.readany()
        except BROKE_OFF as broken:
            raise broke_off(broken) from broken
        if not piece:
            raise StopAsyncIteration
        self._set_reading(False)
        return piece

    def _set_reading(self, reading: bool) -> None:
        connection = self._answer.connection  # None once the answer is whole: the connection rests or serves another
        transport = cast("asyncio.ReadTransport | None", connection.transport if connection is not None else None)
        if transport is None or transport.is_closing():
            return
        if reading:
            transport.resume_reading()
        else:
            transport.pause_reading()


async def _mark_reused(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True


def unavailable(url: str, broken: Exception) -> EngineUnavailable:
    """The engine gave no answer at all."""
    reason = "timed out" if isinstance(broken, TimeoutError | asyncio.TimeoutError) else str(broken) or repr(broken)
    refused = isinstance(broken, aiohttp.ClientConnectorError) and broken.os_error.errno in NOBODY_LISTENS
    kind = EngineRefused if refused else EngineUnavailable
    return kind(f"the engine at {url} does not answer: {reason}")


def broke_off(broken: Exception) -> EngineError:
    """The engine stopped in the middle of its answer."""
    return EngineError(f"the engine broke off in the middle of its answer: {str(broken) or type(broken).__name__}")
