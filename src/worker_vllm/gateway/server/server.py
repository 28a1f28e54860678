"""Serves the gateway on a listening socket; the caller owns signal handling."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass

from worker_vllm.errors import RequestError
from worker_vllm.gateway.api.router import Gateway
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.http_connection import ServerConnection

BACKLOG = 2048
CLOSE_TIMEOUT_S = 2.0


class CannotListen(RequestError):
    """The address or the port is not available; the message names the one to change."""


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 takes a free one. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # inherited: the kernel finds dead peers
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError, ValueError) as error:  # the latter two: invalid host names
        listener.close()
        raise CannotListen(_why(host, port, error)) from error
    return listener


def _why(host: str, port: int, error: Exception) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
        return f"cannot listen on {where}: {error.strerror}; choose another --port"
    reason = error.strerror if isinstance(error, OSError) else "the name cannot be resolved"
    return (
        f"cannot listen on {where}: {reason}; --host takes an address of this machine, such as 127.0.0.1 or 0.0.0.0"
    )


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """The gateway's listening socket, options and key."""

    listener: socket.socket
    options: GatewayOptions
    key: str  # empty when none is required

    @property
    def url(self) -> str:
        """http://host:port, reachable from this machine."""
        host, port = self.listener.getsockname()[:2]
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


class GatewayServer:
    """One gateway behind one listening socket."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._gateway = gateway
        self._listener = listener
        self._connections: set[ServerConnection] = set()
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        """Serve until `stop` is called."""
        server = await asyncio.get_running_loop().create_server(self._connect, sock=self._listener, backlog=BACKLOG)
        try:
            await self._stopped.wait()
        finally:
            server.close()
            await self._gateway.aclose()
            await self._close_connections()

    def stop(self) -> None:
        """Answer held requests, then end `serve`."""
        self._gateway.close()
        self._stopped.set()

    def _connect(self) -> ServerConnection:
        return ServerConnection(self._gateway, self._gateway.receive_limits, self._connections)

    async def _close_connections(self) -> None:
        """Wait for the responses that `close` released, at most CLOSE_TIMEOUT_S, then abort the other connections."""
        closing = [asyncio.ensure_future(connection.end()) for connection in self._connections]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_TIMEOUT_S)
        for connection in list(self._connections):
            connection.abort()
        for task in closing:
            task.cancel()
