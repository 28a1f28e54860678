"""The rim: requests to the platform over kept-alive connections, each with an outcome that can be told apart."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from worker_vllm import __version__
from worker_vllm.serverless.http.address import BadAddress, Origin, Target, target_of
from worker_vllm.serverless.http.connection import Left, NoAnswer, NotSent, PlatformAnswer, PlatformConnection
from worker_vllm.serverless.http.dialer import Dialler, is_open
from worker_vllm.serverless.http.outage_log import Outages

MOST_REDIRECTS = 10  # as the SDK's client
ANYWHERE = (301, 302, 303, 307, 308)
# The SDK's client turns a POST into a GET without a body on 301, 302 and 303, which delivers nothing. 301 and 302
# name the place where a request belongs, so it goes there whole; 303 says that it was processed: for the caller.
SAME_REQUEST = (301, 302, 307, 308)
GET_IS_WELL = (200, 204, 400, 429)  # 400 is what a paused worker is told
FOR_LATER = (401, 403, 408, 425, 429)
_KIND = re.compile(r"/(job-take|job-stop|job-stream|job-done|ping)\b")


@dataclass(frozen=True, slots=True)
class Rest:
    """How long a connection may rest, and after how long it is looked at before it is used again."""

    limit_s: float = 4.0  # below the shortest keep-alive of common servers (uvicorn: 5 s)
    check_after_s: float = 0.5


class Platform(Protocol):
    """Whatever answers the job protocol. Both raise NotSent or NoAnswer when there is no answer."""

    async def get(self, url: str, timeout_s: float) -> PlatformAnswer:
        """The answer to a GET: a long poll or a heartbeat."""

    async def post(self, url: str, body: bytes, timeout_s: float) -> PlatformAnswer:
        """The answer to a POST of JSON text."""

    def leave(self, url: str) -> bool:
        """Let a GET of this address that is out end as soon as the platform can; whether its answer has begun.

        What the platform has sent by then still arrives. Called again it only tells.
        """


class HttpPlatform:
    """The platform over HTTP/1.1; redirects are followed, the key stays with the origin that was asked.

    `close()` ends every connection, also those in use.
    """

    def __init__(self, api_key: str, rest: Rest | None = None, dialler: Dialler | None = None) -> None:
        self._rest = rest or Rest()
        self._headers = (
            f"User-Agent: worker-vllm/{__version__}\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
            "Content-Type: application/json\r\n"
        )
        self._key = f"Authorization: {_one_line(api_key)}\r\n" if api_key else ""
        self._idle: dict[Origin, deque[tuple[PlatformConnection, float]]] = {}
        self._all: set[PlatformConnection] = set()
        self._dialler = dialler or Dialler()
        self._outages = Outages(_now)

    def get(self, url: str, timeout_s: float) -> Coroutine[Any, Any, PlatformAnswer]:
        """The answer to a GET, tried once more when a kept-alive connection turns out to be dead."""
        return self._told(url, None, timeout_s)

    def post(self, url: str, body: bytes, timeout_s: float) -> Coroutine[Any, Any, PlatformAnswer]:
        """The answer to a POST, which is sent at most once to each place that redirects lead to."""
        return self._told(url, body, timeout_s)

    def leave(self, url: str) -> bool:
        """Close our side of the connection that waits for this address; whether its answer has begun."""
        try:
            head = f"GET {target_of(url).path} ".encode()
        except BadAddress:
            return False
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

    async def _told(self, url: str, body: bytes | None, timeout_s: float) -> PlatformAnswer:
        """Ask, follow redirects, and let the log know how the platform does."""
        kind = found[1] if (found := _KIND.search(url)) else "the platform"
        try:
            target = target_of(url)
            answer = await self._asked(target, body, timeout_s, self._key)
            if 300 <= answer.status < 400:
                answer = await self._followed(target, answer, body, timeout_s)
        except Left:
            raise
        except (NotSent, NoAnswer) as error:
            self._outages.failed(kind, str(error))
            raise
        except BadAddress as error:
            self._outages.failed(kind, str(error))
            raise NotSent(str(error)) from error
        if _is_well(answer.status, body is None):
            self._outages.worked(kind)
        else:
            self._outages.failed(kind, f"HTTP {answer.status}")
        return answer

    async def _followed(
        self, target: Target, answer: PlatformAnswer, body: bytes | None, timeout_s: float
    ) -> PlatformAnswer:
        origin = target.origin
        for _ in range(MOST_REDIRECTS):
            location = answer.header("location")
            if location is None or answer.status not in (ANYWHERE if body is None else SAME_REQUEST):
                break
            try:
                target = target.onward(location)
            except BadAddress:
                break
            answer = await self._asked(target, body, timeout_s, self._key if target.origin == origin else "")
        return answer

    async def _asked(self, target: Target, body: bytes | None, timeout_s: float, key: str) -> PlatformAnswer:
        request = self._request(target, body, key)
        connection = self._kept(target)
        if connection is not None:
            try:
                return await self._exchange(connection, target, request, timeout_s)
            except NoAnswer:
                if body is not None or connection.answering or connection.left or not connection.ended:
                    raise
        connection = await self._dialler.connect(target.origin)
        self._all.add(connection)
        return await self._exchange(connection, target, request, timeout_s)

    def _request(self, target: Target, body: bytes | None, key: str) -> bytes:
        rest = f"{target.path} HTTP/1.1\r\nHost: {target.origin.place}\r\n{self._headers}{key}"
        if body is None:
            return f"GET {rest}\r\n".encode()
        return f"POST {rest}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def _exchange(
        self, connection: PlatformConnection, target: Target, request: bytes, timeout_s: float
    ) -> PlatformAnswer:
        try:
            answer = await connection.exchange(request, timeout_s)
        except BaseException:
            self._all.discard(connection)
            raise
        if connection.reusable:
            idle = self._idle.setdefault(target.origin, deque())
            idle.append((connection, now := _now()))
            while now - idle[0][1] > self._rest.limit_s:  # what a burst needed and nobody has used since
                self._drop(idle.popleft()[0])
        else:
            self._all.discard(connection)
        return answer

    def _kept(self, target: Target) -> PlatformConnection | None:
        idle = self._idle.get(target.origin)
        while idle:
            connection, since = idle.pop()
            age_s = _now() - since
            fresh = age_s < self._rest.limit_s and connection.reusable
            if fresh and (age_s < self._rest.check_after_s or is_open(connection)):
                return connection
            self._drop(connection)
        return None

    def _drop(self, connection: PlatformConnection) -> None:
        connection.close()
        self._all.discard(connection)


def _is_well(status: int, is_get: bool) -> bool:
    """Whether the platform does what it should; a refusal of one job's message is that job's matter."""
    if is_get:
        return status in GET_IS_WELL
    return status < 300 or (status >= 400 and status not in FOR_LATER and status < 500)


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


def _now() -> float:
    """Seconds that go on counting while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
