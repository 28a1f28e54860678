"""A small HTTP client for tests: JSON in and out, whole bodies, server-sent events; TCP or a Unix socket."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Http:
    """`url` is `unix:/path` or `http://host:port`; use it as an async context manager."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        path = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://engine" if path else url
        self._connector = (lambda: aiohttp.UnixConnector(path, limit=0)) if path else _tcp
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=self._connector(), timeout=aiohttp.ClientTimeout(total=None), headers=self._headers
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._session is not None
        await self._session.close()

    @asynccontextmanager
    async def open(self, method: str, path: str, body: Any = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is still arriving; leaving closes the connection unless the body was read."""
        assert self._session is not None
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if raw is not None else {}
        data = None if raw is None else io.BytesIO(raw)
        async with self._session.request(method, self._base + path, data=data, headers=headers) as answer:
            yield answer

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        """The whole answer; `body` is bytes, or a value sent as JSON."""
        async with self.open(method, path, body) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())

    async def get(self, path: str) -> Answer:
        """GET."""
        return await self.request("GET", path)

    async def post(self, path: str, body: Any = None) -> Answer:
        """POST."""
        return await self.request("POST", path, {} if body is None else body)

    async def events(self, path: str, body: Any) -> list[Any]:
        """The data of every server-sent event of a stream, JSON parsed, `[DONE]` as it is."""
        return parse_events((await self.post(path, body)).body)


def _tcp() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0)


def parse_events(stream: bytes) -> list[Any]:
    """The data of every event of a stream's bytes: JSON, or text where it is none."""
    found: list[Any] = []
    for event in stream.decode().split("\n\n"):
        lines = [line.removeprefix("data: ") for line in event.splitlines() if line.startswith("data: ")]
        if lines:
            data = "\n".join(lines)
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def metric(exposition: str, name: str) -> float:
    """The value of the first sample of a metric in Prometheus text."""
    for line in exposition.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name} in:\n{exposition}")


def metric_sum(exposition: str, name: str, label: str = "") -> float:
    """All samples of a metric together, or those with a label, given as `name="value"`; 0 where there is none yet."""
    lines = [line for line in exposition.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if label in line)
