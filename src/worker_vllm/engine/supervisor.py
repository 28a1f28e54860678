"""The engine's life: STARTING → READY → DEAD, with one owner, `run()`. Answers while READY, explains itself after.

Does not know what jobs are. A dead engine's requests end with EngineUnavailable, whose message is the diagnosis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from enum import StrEnum
from typing import Protocol

from worker_vllm.engine.base import Engine, EngineRequest, EngineResponse
from worker_vllm.engine.process import EngineProcess, spawn
from worker_vllm.errors import EngineError, EngineUnavailable, WorkerError
from worker_vllm.settings.model import EngineSettings

logger = logging.getLogger(__name__)

PROBE_INTERVAL_S = 0.05  # a refused connection to a Unix socket costs microseconds; only a starting child is probed
DEATH_NOTICE_S = 1.0  # how long a broken answer waits for the reason
HEALTH = EngineRequest("GET", "/health")


class State(StrEnum):
    """Where the engine is in its life."""

    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"


class Connection(Engine, Protocol):
    """An engine reached over HTTP that can be let go."""

    async def aclose(self) -> None:
        """Close every connection."""


class Supervisor:
    """The supervised engine as an Engine. `run()` owns its life; cancel it or call `stop()` to end the engine."""

    def __init__(
        self,
        settings: EngineSettings,
        environment: Mapping[str, str],
        connect: Callable[[str], Connection],
        process: EngineProcess | None = None,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._connect = connect
        self._process = process
        self._connection: Connection | None = None
        self._settled = asyncio.Event()
        self._died = asyncio.Event()
        self.state = State.STARTING
        self.diagnosis = ""

    async def run(self) -> None:
        """Start the engine if nobody did yet, watch it to its end, and leave nothing of it."""
        process = self._process or spawn(self._settings, self._environment)
        self._process = process
        self._connection = self._connect(f"unix:{process.socket}")
        try:
            await process.adopt(log_engine_line)
            await self._become_ready(process, self._connection)
            await process.wait()
        finally:
            self._bury(process)
            await self._connection.aclose()
            await process.stop()

    async def settled(self) -> State:
        """Wait until the engine is READY, or until it is known that it never will be (DEAD)."""
        await self._settled.wait()
        return self.state

    async def stop(self) -> None:
        """End the engine in bounded time; `run()` then returns."""
        if self._process is not None:
            await self._process.stop()

    async def request(self, request: EngineRequest) -> EngineResponse:
        """See `Engine.request`; raises EngineUnavailable while the engine is not READY."""
        connection = self._connection
        if self.state is not State.READY or connection is None:
            raise EngineUnavailable(self.diagnosis or "the engine is still starting")
        try:
            return SupervisedResponse(await connection.request(request), self)
        except EngineUnavailable as error:
            raise await self.explain(error) from error

    async def explain(self, error: WorkerError) -> WorkerError:
        """The diagnosis, if the engine turns out to be dead; else the error as it was."""
        try:
            async with asyncio.timeout(DEATH_NOTICE_S):
                await self._died.wait()
        except TimeoutError:
            return error
        return EngineUnavailable(self.diagnosis)

    async def _become_ready(self, process: EngineProcess, connection: Connection) -> None:
        ended = asyncio.ensure_future(process.wait())
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                while not ended.done() and not await healthy(connection):
                    await asyncio.wait((ended,), timeout=PROBE_INTERVAL_S)
        except TimeoutError:
            logger.error("the engine was not ready after %.0f s", self._settings.start_timeout_s)
            await process.kill()
        finally:
            ended.cancel()
        if process.exit_code is None:
            process.take_inventory()
            self.state = State.READY
            self._settled.set()
            logger.info("the engine is ready")

    def _bury(self, process: EngineProcess) -> None:
        code = process.exit_code
        self.state = State.DEAD
        if not self.diagnosis:
            ended = "was stopped" if code is None else f"ended with status {code}"
            self.diagnosis = f"the engine {ended}; its last words: {last_words(process.tail.lines)}"
            logger.error("%s", self.diagnosis)
        self._died.set()
        self._settled.set()


class SupervisedResponse:
    """An answer of the engine that, when it breaks off because the engine died, says why."""

    def __init__(self, inner: EngineResponse, supervisor: Supervisor) -> None:
        self._inner = inner
        self._supervisor = supervisor

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._inner.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, names in lower case."""
        return self._inner.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises EngineError, or EngineUnavailable with the diagnosis."""
        try:
            async for chunk in self._inner.chunks():
                yield chunk
        except EngineError as error:
            raise await self._supervisor.explain(error) from error

    async def read(self) -> bytes:
        """The whole body. Raises as `chunks` does."""
        try:
            return await self._inner.read()
        except EngineError as error:
            raise await self._supervisor.explain(error) from error

    def close(self) -> None:
        """Give the response up at once."""
        self._inner.close()


async def healthy(connection: Engine) -> bool:
    """Whether the engine answers its health route with 200."""
    try:
        response = await connection.request(HEALTH)
    except (EngineError, EngineUnavailable):
        return False
    response.close()
    return response.status == 200


def log_engine_line(line: str) -> None:
    """Forward one line of the engine's log."""
    logger.info("%s", line, extra={"source": "engine"})


def last_words(lines: list[str]) -> str:
    """The last line that says anything."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "(it said nothing)")
