"""A worker in http mode as a process, and traffic against it: one connection per request, each one accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.http import Answer, Http
from tests.support.processes import Process, running
from tests.support.stack import Stack
from worker_vllm.engine.process.guard import descendants, read_stat
from worker_vllm.engine.supervision.process_watcher import command_line

READY_TIMEOUT_S = 300.0
GUARD = b"/engine/process/guard.py"
COMPLETION = {"model": "parrot", "prompt": "one two three", "max_tokens": 3}


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found: int = listening.getsockname()[1]
        return found


def free_ports(*, apart: bool) -> tuple[int, int]:
    """A port for requests, and one for health: the same unless `apart`."""
    port = free_port()
    return port, free_port() if apart else port


@dataclass(frozen=True, slots=True)
class HttpWorker:
    """A running worker, its port, and the port of its health."""

    process: Process
    port: int
    health_port: int

    @property
    def ports(self) -> tuple[int, int]:
        """The port of requests, and that of health."""
        return self.port, self.health_port

    async def get(self, path: str = "/ping") -> Answer:
        """GET on the health port."""
        return await ask(self.health_port, "GET", path)

    async def post(self, path: str = "/v1/completions", body: Any = None) -> Answer:
        """POST on the port of requests."""
        return await ask(self.port, "POST", path, COMPLETION if body is None else body)

    async def listening(self) -> None:
        """Wait until the ports are bound."""
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                await self.get("/health/live")
                return
            await asyncio.sleep(0.005)

    async def until(self, status: int) -> Answer:
        """Probe the health path until it answers this status."""
        while (answer := await self.get()).status != status:
            await asyncio.sleep(0.01)
        return answer

    @property
    def engine_url(self) -> str:
        """The engine's own socket; what comes over it is not guarded."""
        commands = (command_line(pid).split(b"\0") for pid in descendants(self.process.pid))
        words = next(words for words in commands if any(word.endswith(GUARD) for word in words))
        directory = words[next(at for at, word in enumerate(words) if word.endswith(GUARD)) + 1]
        return f"unix:{directory.decode()}/engine.sock"

    async def control(self, method: str, action: str, body: Any = None) -> Any:
        """One request to the echo engine's control channel, on the engine's own socket."""
        async with Http(self.engine_url) as http:
            answer = await http.request(method, f"/echo/{action}", body)
        assert answer.status == 200, answer.body
        return answer.json

    def kill_engine(self) -> float:
        """kill -9 of the echo engine; returns the time at which the process has gone."""
        return kill(self._engine(b"worker_vllm.echo"))

    def vllm_process(self, name: str) -> int:
        """The newest process that signs its log lines with this name."""
        return int(re.findall(rf"\({name} pid=(\d+)\)", self.process.output())[-1])

    def _engine(self, mark: bytes) -> int:
        return next(pid for pid in descendants(self.process.pid) if is_engine(pid, mark))


def kill(pid: int) -> float:
    """kill -9; returns the time at which the process has gone."""
    os.kill(pid, signal.SIGKILL)
    while read_stat(pid) is not None:
        time.sleep(0.001)
    return time.monotonic()


def is_engine(pid: int, mark: bytes) -> bool:
    """Whether a process is the engine itself and not its guard."""
    command = command_line(pid)
    return mark in command and b"guard.py" not in command


@contextlib.contextmanager
def http_worker(
    environment: Mapping[str, str], *, apart: bool = False, ports: tuple[int, int] | None = None
) -> Iterator[HttpWorker]:
    """A worker over the echo engine unless the environment names another; `apart`: with a PORT_HEALTH of its own."""
    port, health = ports or free_ports(apart=apart)
    settings = {"WORKER_MODE": "http", "PORT": str(port), "ENGINE": "echo", "MODEL_NAME": "parrot"}
    if health != port:
        settings["PORT_HEALTH"] = str(health)
    with running((sys.executable, "-m", "worker_vllm", "start"), {**settings, **environment}) as process:
        yield HttpWorker(process, port, health)


@contextlib.contextmanager
def serve_http(environment: Mapping[str, str], model: str = "parrot") -> Iterator[Stack]:
    """A worker in http mode once its engine's server accepts: the same view as of gateway and worker."""
    with http_worker({"MODEL_NAME": model, **environment}) as worker:
        worker.process.line("accepts requests on port", READY_TIMEOUT_S)
        yield Stack(f"http://127.0.0.1:{worker.port}", worker.engine_url, worker.process, model, prefix="")


async def ask(port: int, method: str, path: str, body: Any = None) -> Answer:
    """One request on a connection of its own. Raises OSError or EOFError when it is refused or cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return Answer(int(lines[0].split()[1]), headers, await reader.read())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@dataclass(slots=True)
class Traffic:
    """What became of the requests: counts by status, and each failure with the times of its begin and end."""

    statuses: dict[int, int] = field(default_factory=dict)
    failures: list[tuple[str, float, float]] = field(default_factory=list)
    probes: int = 0  # answered
    first_answer: float = 0.0  # when the first one came

    @property
    def requests(self) -> int:
        """How many requests that are no probes were answered."""
        return sum(self.statuses.values()) - self.probes

    async def send(self, port: int, method: str, path: str, body: Any = None) -> None:
        """One request, accounted for."""
        began = time.monotonic()
        try:
            status = (await ask(port, method, path, body)).status
        except (OSError, EOFError) as error:
            self.failures.append((type(error).__name__, began, time.monotonic()))
        else:
            self.first_answer = self.first_answer or time.monotonic()
            self.probes += method == "GET"
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def unexplained(self, *deaths: tuple[float, float]) -> list[tuple[str, float, float]]:
        """The failures but for two kinds: no process listened yet; a request was in flight at a death.

        A death is the time of a kill, and the time from which the worker answers again.
        """
        after = [
            each for each in self.failures if not (each[0] == "ConnectionRefusedError" and self._too_early(each))
        ]
        return [each for each in after if not any(each[1] < until and each[2] > died for died, until in deaths)]

    def _too_early(self, failure: tuple[str, float, float]) -> bool:
        return failure[1] < self.first_answer

    async def run(self, ports: tuple[int, int], stop: asyncio.Event, least: int = 0, pause_s: float = 0.0) -> None:
        """Alternate completions and probes until `stop` is set and `least` of each were answered, by all clients."""
        port, health_port = ports
        while not stop.is_set() or min(self.probes, self.requests) < least:
            await self.send(health_port, "GET", "/ping")
            await self.send(port, "POST", "/v1/completions", COMPLETION)
            await asyncio.sleep(pause_s)
