"""Many streams at once from an endpoint whose tokens are times: a client that costs little itself."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

STAMP = re.compile(rb"@(\d+\.\d{6}) ")
LONGEST_STAMP = 32


@dataclass(frozen=True, slots=True)
class Load:
    """So many streams of so many tokens each, started together."""

    streams: int
    tokens: int


@dataclass(slots=True)
class Stream:
    """What one stream showed, in seconds."""

    asked_at: float = 0.0
    ended_at: float = 0.0
    first_made_at: float = 0.0
    first_seen_at: float = 0.0
    pieces: int = 0
    ages: list[float] = field(default_factory=list)


class Reader(asyncio.Protocol):
    """Asks for one stream and notes the age of every token as it arrives."""

    def __init__(self, request: bytes) -> None:
        self.stream = Stream()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = transport
        self.stream.asked_at = time.monotonic()
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Note every whole stamp."""
        now = time.monotonic()
        data = self._rest + data
        end = 0
        for match in STAMP.finditer(data):
            end = match.end()
            made_at = float(match[1])
            if not self.stream.ages:
                self.stream.first_made_at, self.stream.first_seen_at = made_at, now
            self.stream.ages.append(now - made_at)
        self.stream.pieces += bool(end)
        ended = b"[DONE]" in data
        self._rest = data[max(end, len(data) - LONGEST_STAMP) :]
        if ended and not self.over.done():
            self.stream.ended_at = now
            self._transport.close()
            self.over.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """A stream that ends without its end is an error."""
        if not self.over.done():
            self.over.set_exception(error or ConnectionError(f"cut off: {self._rest[-200:]!r}"))


async def read_streams(url: str, model: str, load: Load) -> list[Stream]:
    """Every stream of the load; `url` is where completions are asked, `unix:/path` for the engine itself."""
    target = urlsplit(url)
    path = "/v1/completions" if target.scheme == "unix" else f"{target.path}/openai/v1/completions"
    body = {"model": model, "prompt": "x", "max_tokens": load.tokens, "ignore_eos": True, "stream": True}
    text = json.dumps(body).encode()
    fields = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
    head = f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n"

    async def read() -> Stream:
        loop = asyncio.get_running_loop()

        def reader() -> Reader:
            return Reader(head.encode() + text)

        if target.scheme == "unix":
            _, reading = await loop.create_unix_connection(reader, target.path)
        else:
            _, reading = await loop.create_connection(reader, target.hostname or "127.0.0.1", target.port or 80)
        await reading.over
        return reading.stream

    async with asyncio.timeout(300):
        return list(await asyncio.gather(*(read() for _ in range(load.streams))))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
