"""Worker processes: each in its own process group, restarted within a budget, stopped within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from worker_vllm.errors import EngineUnavailable

LONGEST_LINE = 1 << 20
STOP_WAIT_S = 20.0
RESTART_PAUSE_S = 1.0
LOG_DRAIN_S = 1.0  # for the rest of its log after the exit
RESTARTS = 3
RESTART_WINDOW_S = 600.0
COMMAND = (sys.executable, "-m", "worker_vllm", "start")

# Runs in the child before it executes the worker: the kernel ends the worker when this process ends.
# A preexec_fn would do the same but may deadlock, since the console's spinner is a thread.
DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class WorkersFailed(EngineUnavailable):
    """A worker cannot run here; the message contains the reason."""


class ExitOutcome(Enum):
    """What a worker's exit means for a restart."""

    RETIRED = "it asked to be replaced"
    LOST = "a new process may succeed"
    CANNOT_SERVE = "a new process would fail for the same reason"


@dataclass(frozen=True, slots=True)
class WorkerCallbacks:
    """Callbacks of a slot's owner: a worker starts, logs a line, exits, or is restarted."""

    started: Callable[[str], None]
    line: Callable[[str, str], None]
    ended: Callable[[str, int], ExitOutcome]
    restarting: Callable[[str, int], None]


class WorkerSlot:
    """Runs one worker at a time; a new process has a new id."""

    def __init__(
        self,
        number: int,
        environment: Callable[[str], Mapping[str, str]],
        callbacks: WorkerCallbacks,
        name: str = "worker",
    ) -> None:
        self._name = f"{name}-{number}"
        self._environment = environment
        self._callbacks = callbacks
        self.worker_id = ""
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._restarts: deque[float] = deque(maxlen=RESTARTS)

    async def run(self) -> None:
        """Keep a worker running until `stop`. Raises WorkersFailed when it cannot serve, or exits too often."""
        launch = 0
        while not self._stopping.is_set():
            launch += 1
            worker_id = self._name if launch == 1 else f"{self._name}-{launch}"
            code = await self._run_once(worker_id)
            end = self._callbacks.ended(worker_id, code)
            if self._stopping.is_set():
                return
            if end is ExitOutcome.CANNOT_SERVE:
                raise WorkersFailed(f"{worker_id} ended with status {code} before it could serve")
            if end is not ExitOutcome.RETIRED:
                self._count_restart(worker_id, code)
            self._callbacks.restarting(worker_id, code)
            await asyncio.sleep(RESTART_PAUSE_S)

    def signal(self, number: int) -> bool:
        """Send a signal to the worker itself; False when it does not run."""
        if self._process is None or self._process.returncode is not None:
            return False
        self._process.send_signal(number)
        return True

    @property
    def pid(self) -> int | None:
        """The worker's process id; None when none runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and running else None

    def signal_group(self, number: int) -> None:
        """Send a signal to the worker and its child processes; the slot keeps running."""
        if (pid := self.pid) is not None:
            _signal_group(pid, number)

    async def stop(self) -> None:
        """Send SIGTERM to the worker, then kill what is left of its process group."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WAIT_S):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the worker's process group."""
        self._stopping.set()
        if self._process is not None:
            _kill_group(self._process.pid)

    async def _run_once(self, worker_id: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *_bound_to_this_process(COMMAND),
            env=dict(self._environment(worker_id)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=LONGEST_LINE,
        )
        self._process, self.worker_id = process, worker_id
        self._callbacks.started(worker_id)
        reader = asyncio.create_task(self._read(worker_id, process))
        try:
            code = await process.wait()
            _kill_group(process.pid)
            await asyncio.wait((reader,), timeout=LOG_DRAIN_S)
            return code
        finally:
            _kill_group(process.pid)
            reader.cancel()

    async def _read(self, worker_id: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the limit; what was read of it is gone
                continue
            if not line:
                return
            self._callbacks.line(worker_id, line.decode(errors="replace").rstrip())

    def _count_restart(self, worker_id: str, code: int) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._restarts) == RESTARTS and now - self._restarts[0] < RESTART_WINDOW_S:
            raise WorkersFailed(f"{worker_id} ended with status {code}, after {RESTARTS} restarts within ten minutes")
        self._restarts.append(now)


def _bound_to_this_process(command: tuple[str, ...]) -> tuple[str, ...]:
    if sys.platform != "linux":
        return command
    return (sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *command)


def _kill_group(pid: int) -> None:
    _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
