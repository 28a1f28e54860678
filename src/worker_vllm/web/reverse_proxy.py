"""A streaming reverse proxy as an ASGI application, for ENGINE_URL in http mode: the guard in front of any server.

Both directions are streamed: the upstream reads the request no faster than it takes it, and its response is read no
faster than the client takes it. A client that disconnects closes the upstream's connection, which aborts the request
in the engine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from urllib.parse import quote

import aiohttp
import uvicorn
from multidict import CIMultiDict
from yarl import URL

from worker_vllm.errors import EngineError, EngineUnavailable
from worker_vllm.observability.tracing_settings import tracing_settings
from worker_vllm.settings.types import Settings
from worker_vllm.web.asgi import App, Header, Receive, Scope, Send, header_values
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import GuardSettings, guard_settings
from worker_vllm.web.request_body import Disconnected
from worker_vllm.web.request_report import Report

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 4.0  # below the 5 s after which uvicorn, and so vLLM, closes an idle connection
READ_BUFFER_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Of one connection, not of the request (RFC 9110, 7.6.1), and what the client library sets itself.
HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
OURS = frozenset((b"host", b"content-length", b"expect", b"accept-encoding"))


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
        body = _Body(receive)
        if not _has_body(scope):
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

    async def _forward(self, scope: Scope, body: _Body, send: Send) -> None:
        try:
            response = await self._session.request(
                scope["method"],
                URL(self._target(scope), encoded=True),
                data=body.pieces() if _has_body(scope) else None,
                headers=_request_headers(scope),
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
        headers = _response_headers(response)
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


class _Body:
    """The request's body, piece by piece, and the client's disconnect after it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = asyncio.Event()
        self.gone = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives; the upstream asks for the next piece when it has taken the one before."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                self.gone = True
                self._read.set()
                raise Disconnected
            if piece := message.get("body", b""):
                yield bytes(piece)
            if not message.get("more_body", False):
                self._read.set()
                return

    def discard(self) -> None:
        """Let `disconnected` read: nothing else does."""
        self._read.set()

    async def disconnected(self) -> None:
        """Wait until the client has gone. Waits for the end of the body first, which another reader takes."""
        await self._read.wait()
        while not self.gone:
            self.gone = (await self._receive())["type"] == "http.disconnect"


def _has_body(scope: Scope) -> bool:
    return any(header_values(scope["headers"], name) for name in (b"content-length", b"transfer-encoding"))


def _request_headers(scope: Scope) -> CIMultiDict[str]:
    found: CIMultiDict[str] = CIMultiDict()
    dropped = HOP_BY_HOP | OURS | _named_by_connection(scope["headers"])
    for name, value in scope["headers"]:
        if name.lower() not in dropped:
            found.add(name.decode("latin-1"), value.decode("latin-1"))
    for length in header_values(scope["headers"], b"content-length"):
        found["Content-Length"] = length.decode("latin-1")
    found["Accept-Encoding"] = "identity"
    return found


def _response_headers(response: aiohttp.ClientResponse) -> list[Header]:
    headers = [(name.lower(), value) for name, value in response.raw_headers]
    dropped = HOP_BY_HOP | _named_by_connection(headers)
    return [(name, value) for name, value in headers if name not in dropped]


def _named_by_connection(headers: list[Header]) -> frozenset[bytes]:
    """The headers that `Connection` names: they are of one connection too."""
    named = (part.strip().lower() for value in header_values(headers, b"connection") for part in value.split(b","))
    return frozenset(named)


@asynccontextmanager
async def guarded_proxy(url: str, settings: GuardSettings, report: Report | None = None) -> AsyncIterator[App]:
    """The guard in front of a server, as one ASGI application."""
    proxy = ReverseProxy(url)
    try:
        yield RequestGuard(proxy, settings, report)
    finally:
        await proxy.aclose()


def server_config(app: App, *, grace_s: int = 30) -> uvicorn.Config:
    """The configuration of the server that listens for a reverse proxy; the caller passes it its sockets."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # the guard writes one
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        h11_max_incomplete_event_size=64 * 1024,
    )


class _Server(uvicorn.Server):
    """uvicorn's server; a signal makes it stop accepting and finish running requests, and is not raised again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)


async def run_proxy(
    settings: Settings, sockets: Sequence[socket.socket], report: Report | None = None, report_token: str = ""
) -> None:
    """Serve the guard in front of ENGINE_URL on these listening sockets until SIGTERM."""
    traced = bool(report_token) and tracing_settings(os.environ) is not None
    rules = replace(guard_settings(settings, report_token=report_token), traced=traced)
    async with guarded_proxy(settings.engine.url or "", rules, report) as app:
        config = server_config(app, grace_s=max(1, round(settings.queue.drain_timeout_s)))
        await _Server(config).serve(sockets=list(sockets))
