"""A supervisor over a spawned engine, for the length of a test."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tests.support.engines.model_process import MODEL_PROCESS
from tests.support.paths import PARROT
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineRequest, EngineResponse, EngineState
from worker_vllm.engine.process.guard import descendants, made_since, mapped_shared_memory
from worker_vllm.engine.supervision.process_watcher import command_line
from worker_vllm.engine.supervision.startup import StartPlan
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.settings.types import EngineKind, EngineSettings

ECHO = EngineSettings(kind=EngineKind.ECHO, model="parrot", served_names=("parrot",))
REAL = EngineSettings(model=str(PARROT), served_names=("parrot",), environment={"HF_HUB_OFFLINE": "1"})
WITH_MODEL_PROCESS = replace(REAL, environment={**REAL.environment, **MODEL_PROCESS})
# Two processes share the model; the CPU engine needs to know which processor is whose (one memory node here).
TWO_PARTS = replace(
    REAL,
    arguments=("--tensor-parallel-size", "2"),
    environment={"HF_HUB_OFFLINE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"},
)
ENGINE_LOG = logging.getLogger("worker_vllm.engine.supervision.engine_run")
GUARD = b"/engine/process/guard.py"
OURS = ("psm_", "sem.mp-")


def leftovers() -> set[str]:
    """What engines left behind: shared memory that no process maps, directories without a guard."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    mapped = set().union(*(mapped_shared_memory(pid) for pid in pids))
    commands = b"".join(command_line(pid) for pid in pids)
    shared = {
        path for path, inode in made_since(0).items() if Path(path).name.startswith(OURS) and inode not in mapped
    }
    places = {str(path) for path in Path(tempfile.gettempdir()).glob("worker-vllm-*")}
    return shared | {place for place in places if place.encode() not in commands}


class Lines(logging.Handler):
    """Collects log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(record.getMessage())
        self.more.set()


def supervised_echo_processes() -> list[int]:
    """The guards of echo engines that this process supervises itself, then what runs below them.

    The engines of workers that the whole run shares are not among them: their guards are the workers' children.
    """
    guards = [child.pid for child in psutil.Process().children() if GUARD in command_line(child.pid)]
    family = [*guards, *(pid for guard in guards for pid in descendants(guard))]
    return [pid for pid in family if b"worker_vllm.echo" in command_line(pid)]


class Supervised:
    """A running supervisor, and what it went through."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.states: list[EngineState] = []
        self.running = asyncio.create_task(supervisor.run())
        self.following = asyncio.create_task(self._follow())
        self.log = Lines()
        ENGINE_LOG.addHandler(self.log)
        ENGINE_LOG.setLevel(logging.INFO)  # the engine's log lines contain its processes' ids

    async def _follow(self) -> None:
        while True:
            self.states.append(await self.supervisor.changed())

    async def post(self, path: str, body: bytes = b"{}") -> EngineResponse:
        """One request through the supervisor."""
        return await self.supervisor.request(EngineRequest("POST", path, body, {"content-type": "application/json"}))

    async def get(self, path: str) -> EngineResponse:
        """One GET through the supervisor."""
        return await self.supervisor.request(EngineRequest("GET", path))

    async def line(self, text: str) -> None:
        """Wait for a line of the engine's log that holds the text."""
        while not any(text in line for line in self.log.lines):
            self.log.more.clear()
            await self.log.more.wait()

    def process_id(self, name: str) -> int:
        """The process that signs its log lines with this name, in the engine's newest life."""
        found = [match[1] for line in self.log.lines if (match := re.match(rf"\({name} pid=(\d+)\)", line))]
        return int(found[-1])

    async def until(self, *states: EngineState) -> EngineState:
        """Wait for one of the states."""
        return await self.supervisor.until(*states)


@contextlib.asynccontextmanager
async def supervised(
    settings: EngineSettings = ECHO,
    environment: dict[str, str] | None = None,
    only: dict[str, str] | None = None,
    **changes: Any,
) -> AsyncIterator[Supervised]:
    """A supervisor that starts its engine, over this process's environment or over `only` that.

    Both have ended when the context ends.
    """
    plan = StartPlan(replace(settings, **changes), {**(only or os.environ), **(environment or {})})
    async with followed(Supervisor(plan, HttpEngine)) as run:
        yield run


@contextlib.asynccontextmanager
async def followed(supervisor: Supervisor) -> AsyncIterator[Supervised]:
    """The supervisor running; it has ended when the context ends."""
    run = Supervised(supervisor)
    try:
        yield run
    finally:
        await supervisor.stop()
        await run.running
        run.following.cancel()
        await asyncio.wait([run.following])
        ENGINE_LOG.removeHandler(run.log)
        ENGINE_LOG.setLevel(logging.NOTSET)
