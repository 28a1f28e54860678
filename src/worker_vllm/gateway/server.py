"""Serving the gateway with uvicorn; whoever starts it owns the signals."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from worker_vllm.errors import RequestError
from worker_vllm.gateway.app import Gateway
from worker_vllm.gateway.http import Receive, Scope, Send

BACKLOG = 2048
KEEP_ALIVE_S = 75  # longer than a client's pool keeps an idle connection, so that it is never cut under a request


class PortTaken(RequestError):
    """Another program listens there."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    listener.set_inheritable(False)
    return listener


class _Server(uvicorn.Server):
    """Leaves the signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _protocol(app: Gateway) -> type[Any]:
    """uvicorn's HTTP protocol, whose requests carry the way to cut their own connection."""

    class Protocol(cast("type[Any]", AutoHTTPProtocol)):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)

            async def serve(scope: Scope, receive: Receive, send: Send) -> None:
                scope["extensions"] = {"abort": transport.abort}
                await app(scope, receive, send)

            self.app = serve

    return Protocol


class GatewayServer:
    """One gateway behind one listening socket."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._gateway = gateway
        self._listener = listener
        config = uvicorn.Config(
            app=cast("Any", gateway),
            http=_protocol(gateway),
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)

    async def serve(self) -> None:
        """Serve until `stop`."""
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            await self._gateway.aclose()
            self._listener.close()

    def stop(self) -> None:
        """Answer what is held, then end `serve`."""
        self._gateway.close()
        self._server.should_exit = True
