"""The engine seam: a request goes in, a response with a closable stream comes out. Closing IS cancelling."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worker_vllm.errors import EngineUnavailable


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One HTTP request to the engine: `path` is absolute and already checked against the allow-list."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class EngineRefused(EngineUnavailable):
    """Nobody listens where the engine should: it has ended, or has not begun to serve."""


class EngineResponse(Protocol):
    """An answer whose body is still arriving."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, in arbitrary pieces. Raises EngineError when the engine breaks off."""

    async def read(self) -> bytes:
        """The whole body. Raises EngineError when the engine breaks off."""

    def close(self) -> None:
        """Give the response up at once; an unfinished one is aborted inside the engine. Never raises."""


class Engine(Protocol):
    """Whatever answers vLLM's HTTP routes: the supervised child, an attached server, a test's stand-in."""

    async def request(self, request: EngineRequest) -> EngineResponse:
        """Return once status and headers are here.

        Raises EngineUnavailable with the diagnosis when the engine is not running or died before answering.
        """
