"""Serves the gateway on a listening socket; the caller owns signal handling."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from worker_vllm.errors import RequestError
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.app import Describe, build_app
from worker_vllm.gateway.server.bounded_protocol import BoundedProtocol
from worker_vllm.gateway.server.request import ReceiveLimits

BACKLOG = 2048
KEEP_ALIVE_S = 75  # longer than any client keeps an idle connection
CLOSE_TIMEOUT_S = 2


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
    """One gateway behind one listening socket; `mounts` are further routes, as `build_app` takes them."""

    def __init__(
        self,
        gateway: Gateway,
        listener: socket.socket,
        *,
        mounts: Sequence[BaseRoute] = (),
        described: Sequence[Describe] = (),
    ) -> None:
        self._gateway = gateway
        self._listener = listener
        app = build_app(gateway, mounts=mounts, described=described)
        self._server = HttpServer(server_config(app, gateway.receive_limits))

    async def serve(self) -> None:
        """Serve until `stop` is called."""
        self._gateway.start()
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            await self._gateway.aclose()

    def stop(self) -> None:
        """Answer held requests, then end `serve`."""
        self._gateway.close()
        self._server.stop()


def server_config(app: Starlette, limits: ReceiveLimits) -> uvicorn.Config:
    """The configuration of the server: no logs of its own, its bounds from the gateway's options."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="auto",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSE_TIMEOUT_S,
    )
    config.load()
    config.http_protocol_class = cast("type[asyncio.Protocol]", functools.partial(BoundedProtocol, limits=limits))
    return config


class HttpServer(uvicorn.Server):
    """uvicorn's server, stopped by a call: the caller owns the process's signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End `serve`."""
        self._stopped.set()

    async def main_loop(self) -> None:
        """Wait for `stop`; uvicorn's own loop would look ten times a second."""
        await self._stopped.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers as they are."""
        yield
