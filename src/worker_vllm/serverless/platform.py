"""The rim: requests to the platform over kept-alive connections, each with an outcome that can be told apart."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from worker_vllm import __version__
from worker_vllm.serverless.exchange import Answer, Connection, NoAnswer, NotSent

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Rest:
    """How long a connection may rest, and after how long it is looked at before it is used again."""

    limit_s: float = 4.0  # below the shortest keep-alive of common servers (uvicorn: 5 s)
    check_after_s: float = 0.5


class Platform(Protocol):
    """Whatever answers the job protocol. Both raise NotSent or NoAnswer when there is no answer."""

    async def get(self, url: str, timeout_s: float) -> Answer:
        """The answer to a GET: a long poll or a heartbeat."""

    async def post(self, url: str, body: bytes, timeout_s: float) -> Answer:
        """The answer to a POST of JSON text."""

    def leave(self, url: str) -> bool:
        """Let a GET of this address that is out end as soon as the platform can; whether its answer has begun.

        What the platform has sent by then still arrives. Called again it only tells.
        """


class HttpPlatform:
    """The platform over HTTP/1.1. `close()` ends every connection, also those in use."""

    def __init__(self, api_key: str, rest: Rest | None = None) -> None:
        self._rest = rest or Rest()
        self._headers = (
            f"User-Agent: worker-vllm/{__version__}\r\nAccept: application/json\r\n"
            "Content-Type: application/json\r\n" + (f"Authorization: {_one_line(api_key)}\r\n" if api_key else "")
        )
        self._idle: dict[tuple[str, str], deque[tuple[Connection, float]]] = {}
        self._all: set[Connection] = set()
        self._tls: ssl.SSLContext | None = None

    async def get(self, url: str, timeout_s: float) -> Answer:
        """The answer to a GET, tried once more when a kept-alive connection turns out to be dead."""
        target = urlsplit(url)
        request = self._head("GET", target) + b"\r\n"
        connection = self._kept(target)
        if connection is not None:
            try:
                return await self._exchange(connection, target, request, timeout_s)
            except NoAnswer:
                if connection.answering or connection.left:
                    raise
        return await self._exchange(await self._connect(target), target, request, timeout_s)

    async def post(self, url: str, body: bytes, timeout_s: float) -> Answer:
        """The answer to a POST, which is sent at most once."""
        target = urlsplit(url)
        request = self._head("POST", target) + b"Content-Length: %d\r\n\r\n" % len(body) + body
        connection = self._kept(target) or await self._connect(target)
        return await self._exchange(connection, target, request, timeout_s)

    def leave(self, url: str) -> bool:
        """Close our side of the connection that waits for this address; whether its answer has begun."""
        target = urlsplit(url)
        head = f"GET {target.path}{'?' if target.query else ''}{target.query} ".encode()
        waiting = [connection for connection in self._all if connection.asked.startswith(head)]
        for connection in waiting:
            if not connection.left:
                connection.leave()
        return any(connection.answering for connection in waiting)

    def close(self) -> None:
        """End every connection at once."""
        for connection in list(self._all):
            connection.close()
        self._all.clear()
        self._idle.clear()

    def _head(self, method: str, target: SplitResult) -> bytes:
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        return f"{method} {_one_line(path)} HTTP/1.1\r\nHost: {target.netloc}\r\n{self._headers}".encode()

    async def _exchange(
        self, connection: Connection, target: SplitResult, request: bytes, timeout_s: float
    ) -> Answer:
        try:
            answer = await connection.exchange(request, timeout_s)
        except BaseException:
            self._all.discard(connection)
            raise
        if connection.reusable:
            idle = self._idle.setdefault((target.scheme, target.netloc), deque())
            idle.append((connection, now := _now()))
            while now - idle[0][1] > self._rest.limit_s:  # what a burst needed and nobody has used since
                self._drop(idle.popleft()[0])
        else:
            self._all.discard(connection)
        return answer

    def _kept(self, target: SplitResult) -> Connection | None:
        idle = self._idle.get((target.scheme, target.netloc))
        while idle:
            connection, since = idle.pop()
            age_s = _now() - since
            fresh = age_s < self._rest.limit_s and connection.reusable
            if fresh and (age_s < self._rest.check_after_s or _is_open(connection)):
                return connection
            self._drop(connection)
        return None

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._all.discard(connection)

    async def _connect(self, target: SplitResult) -> Connection:
        tls = None
        if target.scheme == "https":
            tls = self._tls = self._tls or ssl.create_default_context()
        port = target.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, connection = await asyncio.get_running_loop().create_connection(
                    Connection, target.hostname or "", port, ssl=tls
                )
        except (OSError, TimeoutError) as error:
            raise NotSent(f"no connection to {target.netloc}: {error or type(error).__name__}") from error
        _detect_dead_peers(transport)
        self._all.add(connection)
        return connection


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


def _now() -> float:
    """Seconds that go on counting while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _is_open(connection: Connection) -> bool:
    """Whether the peer has not closed a resting connection: nothing, not even its end, is waiting to be read."""
    with socket.socket(fileno=os.dup(connection.transport.get_extra_info("socket").fileno())) as peeked:
        peeked.setblocking(False)
        try:
            peeked.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _detect_dead_peers(transport: asyncio.BaseTransport) -> None:
    """Let the kernel find a peer that vanished without a word (a thawed process) within about 11 s."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
