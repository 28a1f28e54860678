"""One worker process, in a process group of its own: spawned, read, signalled, ended within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from worker_vllm.errors import EngineUnavailable
from worker_vllm.local.fleet.freezing import Frozen

LONGEST_LINE = 1 << 20
STOP_WAIT_S = 20.0
LOG_DRAIN_S = 1.0  # for the rest of its log after the exit
START = (sys.executable, "-m", "worker_vllm", "start")

# Runs in the child before it executes the worker: the kernel ends the worker when this process ends.
# A preexec_fn would do the same but may deadlock, since the console's spinner is a thread.
DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class WorkersFailed(EngineUnavailable):
    """A worker cannot run here; the message contains the reason."""


class WorkerProcess:
    """A worker from its spawn to its exit; `on_line` gets each line that it prints."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._frozen: Frozen | None = None
        self._ending = False
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id, which is its group's too; None while it does not run."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def run(self) -> int:
        """Spawn the worker and wait for its exit; the exit status."""
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *_bound_to_this_process(self._command),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=LONGEST_LINE,
            )
            if self._ending:
                self.signal(signal.SIGTERM)
            return await self._follow(process)
        finally:
            self._ended.set()

    def signal(self, number: int) -> bool:
        """Send a signal to the worker itself; False when it does not run."""
        if self.pid is None or self._process is None:
            return False
        self._process.send_signal(number)
        return True

    async def stop(self, wait_s: float) -> None:
        """Send SIGTERM to the worker, then kill what is left of its process group. Waits for the exit."""
        self._ending = True
        self.thaw()
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(wait_s):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the worker's process group; what it started in other groups is continued, so that it notices."""
        self._ending = True
        if self._process is not None:
            _kill_group(self._process.pid)
        self.thaw()

    def freeze(self) -> None:
        """Stop the worker and every process below it."""
        if self._frozen is None and self.pid is not None:
            self._frozen = Frozen(self.pid)

    def thaw(self) -> None:
        """Continue every process that `freeze` has stopped."""
        frozen, self._frozen = self._frozen, None
        if frozen is not None:
            frozen.thaw()

    async def _follow(self, process: asyncio.subprocess.Process) -> int:
        reader = asyncio.create_task(self._read(process))
        try:
            code = await process.wait()
            _kill_group(process.pid)
            await asyncio.wait((reader,), timeout=LOG_DRAIN_S)
            return code
        finally:
            _kill_group(process.pid)
            self.thaw()
            reader.cancel()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the limit; what was read of it is gone
                continue
            if not line:
                return
            self._on_line(line.decode(errors="replace").rstrip())


def _bound_to_this_process(command: tuple[str, ...]) -> tuple[str, ...]:
    if sys.platform != "linux":
        return command
    return (sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *command)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
