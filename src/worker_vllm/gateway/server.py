"""Serving the gateway on a socket; whoever starts it owns the signals."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from worker_vllm.errors import RequestError
from worker_vllm.gateway.app import Gateway
from worker_vllm.gateway.connection import Connection
from worker_vllm.gateway.options import GatewayOptions

BACKLOG = 2048
LAST_WORDS_S = 2.0


class PortTaken(RequestError):
    """Another program listens there."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # inherited: the kernel finds dead peers
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    return listener


@dataclass(frozen=True, slots=True)
class Front:
    """Where the gateway listens and what it was told."""

    listener: socket.socket
    options: GatewayOptions
    key: str  # empty when none is required

    @property
    def url(self) -> str:
        """http://host:port, as this machine reaches it."""
        host, port = self.listener.getsockname()[:2]
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


class GatewayServer:
    """One gateway behind one listening socket."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._gateway = gateway
        self._listener = listener
        self._connections: set[Connection] = set()
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        """Serve until `stop`."""
        server = await asyncio.get_running_loop().create_server(self._connect, sock=self._listener, backlog=BACKLOG)
        try:
            await self._stopped.wait()
        finally:
            server.close()
            await self._gateway.aclose()
            await self._say_last_words()

    def stop(self) -> None:
        """Answer what is held, then end `serve`."""
        self._gateway.close()
        self._stopped.set()

    def _connect(self) -> Connection:
        return Connection(self._gateway.handle, self._gateway.largest_body, self._connections)

    async def _say_last_words(self) -> None:
        """Give the answers that `close` released a moment, then cut what is left."""
        closing = [asyncio.ensure_future(connection.end()) for connection in self._connections]
        if closing:
            await asyncio.wait(closing, timeout=LAST_WORDS_S)
        for connection in list(self._connections):
            connection.abort()
        for task in closing:
            task.cancel()
