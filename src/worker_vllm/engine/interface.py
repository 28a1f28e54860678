"""The engine seam: a request goes in, a response with a closable stream comes out. Closing a response cancels it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from worker_vllm.errors import EngineUnavailable


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One HTTP request to the engine: `path` is absolute and already checked against the allow-list."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Sequences running and waiting, summed over all engine replicas; the highest share of KV memory used, 0 to 1."""

    running: int
    waiting: int
    kv_used: float


class EngineState(StrEnum):
    """The state of an engine and its process."""

    STARTING = "starting"  # jobs should stay in the platform's queue
    READY = "ready"
    REFUSING = "refusing"  # the settings cannot work: every request fails with the diagnosis
    GONE = "gone"  # this machine cannot serve: the worker takes no jobs and exits
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class EngineFailure:
    """Why an engine does not serve: the cause in two or three words, and the sentence for people."""

    cause: str
    sentence: str


class EngineRefused(EngineUnavailable):
    """No process listens at the engine's address: it has exited, or does not serve yet."""


class EngineResponse(Protocol):
    """A response whose body is still arriving."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, in arbitrary chunks. Raises EngineError when the engine closes the connection."""

    async def read(self) -> bytes:
        """The complete body. Raises EngineError when the engine closes the connection before its end."""

    def close(self) -> None:
        """Release the response at once; an unfinished request is aborted in the engine. Never raises."""


class Engine(Protocol):
    """A server of vLLM's HTTP routes: the supervised child, an attached server, a test's fake."""

    async def request(self, request: EngineRequest) -> EngineResponse:
        """Return once status and headers have arrived.

        Raises EngineUnavailable with the diagnosis when the engine is not running or exits before it responds.
        """


class ManagedEngine(Engine, Protocol):
    """An engine with a state, as a mode uses it; `Supervisor` and `AttachedEngine` implement it."""

    @property
    def state(self) -> EngineState:
        """The state now."""

    @property
    def failure(self) -> EngineFailure | None:
        """Why it does not serve; None while it serves, or starts for the first time."""

    async def run(self) -> None:
        """Own the engine; returns when it is GONE or `stop` was called, and nothing of it is left."""

    async def stop(self) -> None:
        """End the engine in bounded time; `run` then returns."""

    async def changed(self) -> EngineState:
        """Wait for the next change of state; returns the new state."""

    async def wait_until_decided(self) -> EngineState:
        """Wait while the engine is STARTING; returns the state that follows."""
