"""A streaming reverse proxy as an ASGI application, for ENGINE_URL in http mode: the guard in front of any server.

Both directions are streamed: the upstream reads the request no faster than it takes it, and its response is read no
faster than the client takes it. A client that disconnects closes the upstream's connection, which aborts the request
in the engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import uvicorn
from multidict import CIMultiDict
from yarl import URL

from worker_vllm.errors import EngineError, EngineUnavailable
from worker_vllm.forwarding.passed_headers import has_body, request_headers, response_headers
from worker_vllm.forwarding.request_stream import RequestStream
from worker_vllm.web.asgi import App, Receive, Scope, Send
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import GuardSettings
from worker_vllm.web.request_report import Report

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 4.0  # below the 5 s after which uvicorn, and so vLLM, closes an idle connection
READ_BUFFER_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0


class ReverseProxy:
    """Forwards every request to one server: `unix:/path` or `http://host:port`. Close it inside its event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        path = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://engine" if path else url.rstrip("/")
        connector: aiohttp.BaseConnector
        if path:
            connector = aiohttp.UnixConnector(path, limit=0, keepalive_timeout=KEEP_ALIVE_S)
        else:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def aclose(self) -> None:
        """Close every connection to the server."""
        await self._session.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; ASGI's entry point. Raises EngineUnavailable before the response has started."""
        body = RequestStream(receive)
        if not has_body(scope["headers"]):
            body.discard()
        forwarding = asyncio.ensure_future(self._forward(scope, body, send))
        watching = asyncio.ensure_future(body.disconnected())
        try:
            await asyncio.wait({forwarding, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (forwarding, watching):
                task.cancel()
            await asyncio.wait({forwarding, watching})
        if not forwarding.cancelled():
            forwarding.result()

    async def _forward(self, scope: Scope, body: RequestStream, send: Send) -> None:
        try:
            response = await self._session.request(
                scope["method"],
                URL(self._target(scope), encoded=True),
                data=body.pieces() if has_body(scope["headers"]) else None,
                headers=CIMultiDict(request_headers(scope["headers"])),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            body.discard()
            if body.gone:
                return
            log.warning("the engine does not answer: %s", error)
            raise EngineUnavailable("the engine behind this worker does not answer; retry") from error
        try:
            await self._relay(response, send)
        finally:
            response.close()  # an unfinished response aborts its request; a finished one is in the pool already

    async def _relay(self, response: aiohttp.ClientResponse, send: Send) -> None:
        """Send the response on as it arrives: `send` waits while the client's connection is full."""
        headers = response_headers(response.raw_headers)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        try:
            while chunk := await response.content.readany():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (aiohttp.ClientError, OSError) as error:
            # Without its last message the server closes the connection, so that the client sees a broken answer.
            raise EngineError("the engine's response ended before it was complete") from error
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _target(self, scope: Scope) -> str:
        query = scope.get("query_string", b"").decode("latin-1")
        path = quote(scope["path"], safe="/:@!$&'()*+,;=~")
        return f"{self._base}{path}{'?' + quote(query, safe='/?:@!$&()*+,;=~%') if query else ''}"


@asynccontextmanager
async def guarded_proxy(url: str, settings: GuardSettings, report: Report | None = None) -> AsyncIterator[App]:
    """The guard in front of a server, as one ASGI application."""
    proxy = ReverseProxy(url)
    try:
        yield RequestGuard(proxy, settings, report)
    finally:
        await proxy.aclose()


def server_config(app: App) -> uvicorn.Config:
    """The configuration of the server that listens for a reverse proxy; the caller passes it its sockets."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # the guard writes one
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=64 * 1024,
    )
