"""Requests to the platform over kept-alive connections; errors show whether a request can have been accepted."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from worker_vllm import __version__
from worker_vllm.serverless.http.address import BadAddress, PlatformOrigin, Target, parse_target
from worker_vllm.serverless.http.connection import (
    NoAnswer,
    NotSent,
    PlatformAnswer,
    PlatformConnection,
    RequestAbandoned,
)
from worker_vllm.serverless.http.dialer import Dialer, is_open
from worker_vllm.serverless.http.outage_log import OutageLog

MAX_REDIRECTS = 10  # as the SDK's client
GET_REDIRECTS = (301, 302, 303, 307, 308)
# The SDK's client turns a POST into a GET without a body on 301, 302 and 303, which delivers nothing. 301 and 302
# name the address of the resource, so the same POST is sent there; 303 means that it was processed: for the caller.
POST_REDIRECTS = (301, 302, 307, 308)
REMEMBERED = 1024  # addresses of jobs: each piece of a stream goes to the same one
COPIED_BYTES = 16 * 1024  # a larger body is not joined, so that it is in memory once; TLS would encrypt part by part
EXPECTED_GET_STATUSES = (200, 204, 400, 429)  # 400 is the answer to a paused worker
RETRY_LATER_STATUSES = (401, 403, 408, 425, 429)
_KIND = re.compile(r"/(job-take|job-stop|job-stream|job-done|ping)\b")


@dataclass(frozen=True, slots=True)
class KeepAliveLimits:
    """How long a connection may be idle, and after how long it is checked before it is used again (seconds)."""

    max_idle_s: float = 4.0  # below the shortest keep-alive of common servers (uvicorn: 5 s)
    check_after_s: float = 0.5


class Platform(Protocol):
    """The platform's side of the job protocol. `get` and `post` raise NotSent or NoAnswer."""

    async def get(self, url: str, timeout_s: float) -> PlatformAnswer:
        """The answer to a GET: a long poll or a heartbeat."""

    async def post(self, url: str, body: Sequence[bytes], timeout_s: float) -> PlatformAnswer:
        """The answer to a POST of JSON text in parts."""

    def abandon(self, url: str) -> bool:
        """End an open GET of this address. Returns whether its answer has begun to arrive.

        What the platform has sent by then still arrives. A second call only returns the state.
        """


class HttpPlatform:
    """The platform over HTTP/1.1. Redirects are followed; only the origin of the first request gets the API key.

    `close()` ends every connection, also those in use.
    """

    def __init__(self, api_key: str, keep_alive: KeepAliveLimits | None = None, dialer: Dialer | None = None) -> None:
        self._keep_alive = keep_alive or KeepAliveLimits()
        self._headers = (
            f"User-Agent: worker-vllm/{__version__}\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
            "Content-Type: application/json\r\n"
        )
        self._key = f"Authorization: {_one_line(api_key)}\r\n" if api_key else ""
        self._idle: dict[PlatformOrigin, deque[tuple[PlatformConnection, float]]] = {}
        self._all: set[PlatformConnection] = set()
        self._dialler = dialer or Dialer()
        self._outage_log = OutageLog(_now)

    def get(self, url: str, timeout_s: float) -> Coroutine[Any, Any, PlatformAnswer]:
        """The answer to a GET, which is sent once more when a kept-alive connection turns out to be dead."""
        return self._send_and_log(url, None, timeout_s)

    def post(self, url: str, body: Sequence[bytes], timeout_s: float) -> Coroutine[Any, Any, PlatformAnswer]:
        """The answer to a POST, which is sent at most once to each address that redirects lead to."""
        return self._send_and_log(url, body, timeout_s)

    def abandon(self, url: str) -> bool:
        """Close this side of the connection of an open GET. Returns whether its answer has begun to arrive."""
        try:
            head = f"GET {parse_target(url).path} ".encode()
        except BadAddress:
            return False
        waiting = [connection for connection in self._all if connection.request.startswith(head)]
        for connection in waiting:
            if not connection.half_closed:
                connection.half_close()
        return any(connection.answering for connection in waiting)

    def close(self) -> None:
        """End every connection at once."""
        for connection in list(self._all):
            connection.close()
        self._all.clear()
        self._idle.clear()

    async def _send_and_log(self, url: str, body: Sequence[bytes] | None, timeout_s: float) -> PlatformAnswer:
        """Send a request, follow redirects, and record the outcome in the outage log."""
        try:
            # The address of a ping lists all jobs, so that it is long and never the same: only a job's is remembered.
            kind, target = _address(url) if body is None else _job_address(url)
        except BadAddress as error:
            self._outage_log.failed(_kind(url), str(error))
            raise NotSent(str(error)) from error
        try:
            answer = await self._send(target, body, timeout_s, self._key)
            if 300 <= answer.status < 400:
                answer = await self._follow_redirects(target, answer, body, timeout_s)
        except RequestAbandoned:
            raise
        except (NotSent, NoAnswer) as error:
            self._outage_log.failed(kind, str(error))
            raise
        if _is_expected(answer.status, body is None):
            self._outage_log.succeeded(kind)
        else:
            self._outage_log.failed(kind, f"HTTP {answer.status}")
        return answer

    async def _follow_redirects(
        self, target: Target, answer: PlatformAnswer, body: Sequence[bytes] | None, timeout_s: float
    ) -> PlatformAnswer:
        origin = target.origin
        for _ in range(MAX_REDIRECTS):
            location = answer.header("location")
            if location is None or answer.status not in (GET_REDIRECTS if body is None else POST_REDIRECTS):
                break
            try:
                target = target.redirected_to(location)
            except BadAddress:
                break
            answer = await self._send(target, body, timeout_s, self._key if target.origin == origin else "")
        return answer

    async def _send(self, target: Target, body: Sequence[bytes] | None, timeout_s: float, key: str) -> PlatformAnswer:
        request = self._request(target, body, key)
        connection = self._idle_connection(target)
        if connection is not None:
            try:
                return await self._exchange(connection, target, request, timeout_s)
            except NoAnswer:
                if body is not None or connection.answering or connection.half_closed or not connection.ended:
                    raise
        connection = await self._dialler.connect(target.origin)
        self._all.add(connection)
        return await self._exchange(connection, target, request, timeout_s)

    def _request(self, target: Target, body: Sequence[bytes] | None, key: str) -> Sequence[bytes]:
        rest = f"{target.path} HTTP/1.1\r\nHost: {target.origin.host_port}\r\n{self._headers}{key}"
        if body is None:
            return (f"GET {rest}\r\n".encode(),)
        size = sum(map(len, body))
        request = (f"POST {rest}Content-Length: {size}\r\n\r\n".encode(), *body)
        whole = size <= COPIED_BYTES or target.origin.scheme == "https"
        return (b"".join(request),) if whole else request

    async def _exchange(
        self, connection: PlatformConnection, target: Target, request: Sequence[bytes], timeout_s: float
    ) -> PlatformAnswer:
        try:
            answer = await connection.exchange(request, timeout_s)
        except BaseException:
            self._all.discard(connection)
            raise
        if connection.reusable:
            idle = self._idle.setdefault(target.origin, deque())
            idle.append((connection, now := _now()))
            while (
                now - idle[0][1] > self._keep_alive.max_idle_s
            ):  # connections that a burst needed and that are unused since
                self._drop(idle.popleft()[0])
        else:
            self._all.discard(connection)
        return answer

    def _idle_connection(self, target: Target) -> PlatformConnection | None:
        idle = self._idle.get(target.origin)
        while idle:
            connection, since = idle.pop()
            age_s = _now() - since
            fresh = age_s < self._keep_alive.max_idle_s and connection.reusable
            if fresh and (age_s < self._keep_alive.check_after_s or is_open(connection)):
                return connection
            self._drop(connection)
        return None

    def _drop(self, connection: PlatformConnection) -> None:
        connection.close()
        self._all.discard(connection)


def _kind(url: str) -> str:
    """The message that goes to an address, as the log names it."""
    return found[1] if (found := _KIND.search(url)) else "the platform"


def _address(url: str) -> tuple[str, Target]:
    """The message that goes to an address, and the address in its parts. Raises BadAddress."""
    return _kind(url), parse_target(url)


_job_address = lru_cache(REMEMBERED)(_address)


def _is_expected(status: int, is_get: bool) -> bool:
    """Whether the platform works; the refusal of one job's message concerns only that job."""
    if is_get:
        return status in EXPECTED_GET_STATUSES
    return status < 300 or (status >= 400 and status not in RETRY_LATER_STATUSES and status < 500)


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


def _now() -> float:
    """Seconds of a clock that continues while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
