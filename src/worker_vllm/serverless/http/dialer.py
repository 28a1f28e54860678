"""Opens connections to the platform: every address of a host (RFC 8305), TLS, keep-alive probes for dead peers."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohappyeyeballs import AddrInfoType, start_connection

from worker_vllm.serverless.http.address import PlatformOrigin
from worker_vllm.serverless.http.connection import NotSent, PlatformConnection

STEP_TIMEOUT_S = 10.0  # for each of: the name, the connection, TLS
NEXT_ADDRESS_S = 0.25  # after this the next address is tried concurrently (RFC 8305)


Resolve = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]


async def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    """Every address of a host. Raises OSError."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Dialer:
    """Opens connections."""

    def __init__(self, resolve: Resolve = resolve) -> None:
        self._resolve = resolve
        self._tls: ssl.SSLContext | None = None

    async def connect(self, origin: PlatformOrigin) -> PlatformConnection:
        """A new connection. Raises NotSent, which names the step that failed."""
        step = "its name is not known"
        try:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                addresses = await self._resolve(origin.host, origin.port)
            step = "no connection"
            if len(addresses) == 1:
                connection = await self._open(origin, host=addresses[0][4][0], port=origin.port)
            else:
                async with asyncio.timeout(STEP_TIMEOUT_S):
                    sock = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1)
                step = "no TLS" if origin.scheme == "https" else step
                connection = await self._open_on_socket(origin, sock)
        except TimeoutError as error:
            raise NotSent(f"no connection to {origin.host_port}: {step} within {STEP_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise NotSent(f"no connection to {origin.host_port}: {_reason(error)}") from error
        _detect_dead_peers(connection.transport.get_extra_info("socket"))
        return connection

    async def _open(self, origin: PlatformOrigin, **where: Any) -> PlatformConnection:
        """Connect, or use the connected `sock`, with TLS for https."""
        tls = self._tls_context() if origin.scheme == "https" else None
        async with asyncio.timeout(STEP_TIMEOUT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                PlatformConnection, ssl=tls, server_hostname=origin.host if tls else None, **where
            )
        return connection

    async def _open_on_socket(self, origin: PlatformOrigin, sock: socket.socket) -> PlatformConnection:
        try:
            return await self._open(origin, sock=sock)
        except BaseException:
            sock.close()
            raise

    def _tls_context(self) -> ssl.SSLContext:
        """The TLS context with the machine's CA certificates; built anew while none could be read."""
        tls = self._tls or ssl.create_default_context()
        if tls.cert_store_stats()["x509_ca"]:
            self._tls = tls
        return tls


def is_open(connection: PlatformConnection) -> bool:
    """Whether the peer has not closed an idle connection: neither data nor an end of file is waiting to be read."""
    peeked = socket.socket(
        fileno=connection.transport.get_extra_info("socket").fileno()
    )  # uses no further descriptor
    try:
        peeked.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        peeked.detach()
    return False


def _reason(error: OSError) -> str:
    """A readable reason, never empty."""
    if (
        isinstance(error, ssl.SSLError | socket.gaierror) or not error.errno
    ):  # their errno values are not the system's
        return str(error) or type(error).__name__
    return os.strerror(error.errno)


def _detect_dead_peers(sock: Any) -> None:
    """Let the kernel detect a peer that vanished without closing (after a freeze) within about 11 s."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
