"""The body of a request: its length checked before and while it arrives, held once for JSON, streamed for forms."""

from __future__ import annotations

import asyncio

from worker_vllm.web.asgi import CLOSE, HttpRefusal, Message, Receive, Scope, header_values

BODY_TIMEOUT_S = 60.0  # for the whole body; the platform ends a request after 5.5 minutes
HELD_BYTES = 512 << 20  # of all bodies that are arriving or being checked at one time


class Disconnected(Exception):
    """The client went away before its request was complete."""


def check_headers(scope: Scope, limit: int) -> None:
    """Raise HttpRefusal for a body that is announced in two ways, too large, or in an encoding."""
    lengths = header_values(scope["headers"], b"content-length")
    encodings = header_values(scope["headers"], b"transfer-encoding")
    if len(lengths) > 1 or (lengths and encodings) or any(not one.isdigit() for one in lengths):
        raise HttpRefusal(400, "the length of the body: expected one Content-Length, or chunks, got both or several")
    if any(one.strip().lower() != b"identity" for one in header_values(scope["headers"], b"content-encoding")):
        raise HttpRefusal(415, "Content-Encoding: expected a body without one; send it uncompressed")
    if lengths and int(lengths[0][:20]) > limit:
        raise too_large(limit)


def too_large(limit: int) -> HttpRefusal:
    """The refusal of a body that exceeds the limit."""
    return HttpRefusal(
        413, f"the request's body: expected at most {limit} bytes; send less, or raise the endpoint's MAX_BODY_BYTES"
    )


class LimitedBody:
    """The request's body as it arrives, within a limit of bytes and of time. `receive` is for the application.

    Past a limit the application sees a client that disconnected, and `refusal` tells what the client gets instead.
    """

    def __init__(self, receive: Receive, limit: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._receive = receive
        self._left = limit
        self._limit = limit
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._complete = False
        self.refusal: HttpRefusal | None = None

    async def receive(self) -> Message:
        """The next message of the request."""
        if self._complete:
            return await self._receive()
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.refusal = HttpRefusal(408, "the request's body did not arrive in time; send it again", CLOSE)
            return {"type": "http.disconnect"}
        if message["type"] != "http.request":
            return message
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.refusal = too_large(self._limit)
            return {"type": "http.disconnect"}
        self._complete = not message.get("more_body", False)
        return message

    async def read(self, memory: BodyMemory) -> bytes:
        """The complete body. Raises HttpRefusal past a limit, Disconnected when the client goes away."""
        pieces: list[bytes] = []
        try:
            while True:
                message = await self.receive()
                if message["type"] != "http.request":
                    raise self.refusal or Disconnected
                pieces.append(message.get("body", b""))
                memory.take(len(pieces[-1]))
                if not message.get("more_body", False):
                    return b"".join(pieces)
        finally:
            memory.give_back(sum(map(len, pieces)))


class BodyMemory:
    """The memory for bodies that have not arrived whole yet, shared by all requests of a server."""

    def __init__(self, largest_body: int, most: int = HELD_BYTES) -> None:
        self._left = max(most, largest_body)

    def take(self, size: int) -> None:
        """Count bytes that have arrived. Raises HttpRefusal (429) when there are too many."""
        self._left -= size
        if self._left < 0:
            retry = (b"retry-after", b"1")
            raise HttpRefusal(429, "too many bytes of requests are arriving at this worker; retry", retry)

    def give_back(self, size: int) -> None:
        """Count bytes that are held no longer."""
        self._left += size


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body in one message, then whatever the client does next."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again
