"""The body of one request as a stream, with the client's disconnect after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGone(Exception):
    """The client went away before its request was complete."""


class RequestStream:
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
                raise ClientGone
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
