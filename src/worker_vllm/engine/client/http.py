"""The engine over HTTP: a Unix socket or http://host:port, pooled connections, raw bytes; closing is cancelling.

Bodies are not interpreted. A response's body is read only as fast as its consumer reads: beyond 128 KiB of unread
bytes the socket is paused, which is the engine's back-pressure.
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
NOT_LISTENING = (errno.ECONNREFUSED, errno.ENOENT)  # not EAGAIN: a server whose backlog is full
# aiohttp raises RuntimeError when the connection is closed on this side during a read.
CONNECTION_ERRORS = (aiohttp.ClientError, OSError, RuntimeError)
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
        self._responses: WeakSet[aiohttp.ClientResponse] = WeakSet()
        self._closed = False

    async def request(self, request: EngineRequest) -> HttpResponse:
        """Return once status and headers are here; see `Engine.request`.

        A pooled connection that fails before the first byte of the response was most likely closed by the server
        while it was idle; the request is then repeated once on a new connection.
        """
        trace = SimpleNamespace(reused=False)
        try:
            return await self._send(self._pooled, request, trace)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not trace.reused or isinstance(error, aiohttp.ClientConnectorError):
                raise unavailable(self.url, error) from error
        except (TimeoutError, aiohttp.ClientError) as error:
            raise unavailable(self.url, error) from error
        try:
            return await self._send(self._single, request, trace)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise unavailable(self.url, error) from error

    async def aclose(self) -> None:
        """Close every connection; every unfinished response raises EngineError at its pending or next read.

        aiohttp alone would leave such a read pending: it drops the response together with the connection.
        """
        self._closed = True
        for response in list(self._responses):
            if not response.content.is_eof():
                response.content.set_exception(aiohttp.ClientConnectionError("the worker closed the connection"))
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
            raise aiohttp.ClientConnectionError("the worker closed the connection")
        response = await session.request(
            request.method,
            self._base + request.path,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            trace_request_ctx=trace,
        )
        self._responses.add(response)
        return HttpResponse(response)


class HttpResponse:
    """A response of an HTTP engine whose body is still arriving."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, names in lower case."""
        return {name.lower(): value for name, value in self._response.headers.items()}

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives: each chunk holds everything received since the one before was read."""
        return _Chunks(self._response)

    async def read(self) -> bytes:
        """The complete body."""
        try:
            return await self._response.read()
        except CONNECTION_ERRORS as error:
            raise connection_lost(error) from error

    def close(self) -> None:
        """Close an unfinished response's connection, which aborts the request in the engine; others stay pooled."""
        self._response.close()


class _Chunks:
    """An iterator, not a generator: nothing needs to be closed when its consumer stops early.

    The socket is read only while a consumer waits for a chunk. Other data collects in the kernel and is read in one
    go; otherwise every event would wake this process.
    """

    __slots__ = ("_content", "_response")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._set_reading(True)
        try:
            chunk = await self._content.readany()
        except CONNECTION_ERRORS as error:
            raise connection_lost(error) from error
        if not chunk:
            raise StopAsyncIteration
        self._set_reading(False)
        return chunk

    def _set_reading(self, reading: bool) -> None:
        connection = self._response.connection  # None once the response is complete
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


def unavailable(url: str, error: Exception) -> EngineUnavailable:
    """The error for a request without a response: EngineRefused when no process listens, else EngineUnavailable."""
    reason = "timed out" if isinstance(error, TimeoutError | asyncio.TimeoutError) else str(error) or repr(error)
    refused = isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno in NOT_LISTENING
    kind = EngineRefused if refused else EngineUnavailable
    return kind(f"the engine at {url} does not answer: {reason}")


def connection_lost(error: Exception) -> EngineError:
    """The error for a response that ends before its body is complete."""
    return EngineError(f"the engine's response ended before it was complete: {str(error) or type(error).__name__}")
