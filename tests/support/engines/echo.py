"""The echo engine in this process, on a Unix socket, for the length of a test."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from tests.support.http import Answer, Http, metric
from worker_vllm.echo import EchoApp, Options
from worker_vllm.echo.server import Address, EchoServer


class _Server(EchoServer):
    """The engine's own server inside a test: leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class EchoEngine:
    """A running echo engine: its address, a client for it, and its control channel."""

    def __init__(self, url: str, http: Http) -> None:
        self.url = url
        self.http = http

    async def script(self, script: dict[str, Any], times: int = 1) -> None:
        """Script the next generations; -1 is all from now on."""
        await self.control("script", {"script": script, "times": times})

    async def control(self, action: str, body: dict[str, Any] | None = None) -> Any:
        """POST to the control channel; the engine's counts."""
        answer = await self.http.post(f"/echo/{action}", body)
        assert answer.status == 200, answer.body
        return answer.json

    async def until(self, **counts: int) -> Any:
        """Wait until `running` or `waiting` are exactly these; the engine's counts then."""
        query = "&".join(f"{name}={count}" for name, count in counts.items())
        return (await self.http.get(f"/echo/wait?{query}")).json

    async def requests(self) -> list[dict[str, Any]]:
        """What the engine was asked, oldest first."""
        found: list[dict[str, Any]] = (await self.http.get("/echo/requests")).json
        return found

    async def metric(self, name: str) -> float:
        """One of its metrics."""
        answer: Answer = await self.http.get("/metrics")
        return metric(answer.body.decode(), name)


@contextlib.asynccontextmanager
async def echo_engine(**options: Any) -> AsyncIterator[EchoEngine]:
    """An echo engine with these `Options`, stopped at the end with whatever it was still doing."""
    with tempfile.TemporaryDirectory(prefix="echo-") as directory:
        address = Address(str(Path(directory, "engine.sock")))
        listening = asyncio.Event()
        server = _Server(EchoApp(Options(**options)), address, listening.set)
        serving = asyncio.create_task(server.serve())
        try:
            await listening.wait()
            async with Http(str(address)) as http:
                yield EchoEngine(str(address), http)
        finally:
            server.should_exit = True
            await serving
