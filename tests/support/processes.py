"""Processes under test: started in a group of their own, their output kept, never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence

STOP_GRACE_S = 10.0


class Process:
    """A running process; everything it prints, both streams together, is kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._lines: list[str] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The process id, which is the group's too."""
        return self.process.pid

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self._lines.append(line.decode(errors="replace").rstrip())
            self._announce()
        self._announce()

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def output(self) -> str:
        """Everything printed so far."""
        return "\n".join(self._lines)

    async def line(self, part: str) -> str:
        """The first line that contains `part`, once it is printed; fails when the process ends without it."""
        seen = 0
        while True:
            for line in self._lines[seen:]:
                if part in line:
                    return line
            seen = len(self._lines)
            if self._reading.done():
                raise AssertionError(f"ended without printing {part!r}:\n{self.output()}")
            await self._news.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        """The exit code, once it is over."""
        await self._reading
        return await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, a grace time, then SIGKILL for the whole group; the exit code."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        try:
            return await asyncio.wait_for(self.exit_code(), STOP_GRACE_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            return await self.exit_code()


@contextlib.asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
    """A process for the length of the block; `environment` is added to this process's own."""
    started = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    process = Process(started)
    try:
        yield process
    finally:
        await process.stop()
