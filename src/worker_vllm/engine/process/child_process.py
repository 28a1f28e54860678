"""The engine as a child process: spawned light, adopted by the event loop later, ended in bounded time.

`spawn` needs the standard library alone and no event loop: the engine starts before anything heavy is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from worker_vllm.engine.process.command import child_environment, engine_argv, serve_arguments
from worker_vllm.engine.process.guard import end_session
from worker_vllm.engine.process.launch_directory import fresh_directory, remove_remains
from worker_vllm.engine.process.log_tail import LogTail

if TYPE_CHECKING:
    import asyncio

    from worker_vllm.settings.types import EngineSettings

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 5.0
STOP_MARGIN_S = 10.0  # the guard's own bound on killing, and then some
PIPE_BYTES = 1 << 20  # what the engine may log before anyone reads
F_SETPIPE_SZ = 1031


class EngineProcess:
    """One launch of the engine: its guard, its directory with the socket, its log."""

    def __init__(self, guard: subprocess.Popen[bytes], directory: str, log: int, telling: int = -1) -> None:
        self._guard = guard
        self._directory = directory
        self._log = log
        self._telling = telling  # the pipe on which a process that was spawned waiting is told what to serve
        self._exited: asyncio.Event | None = None
        self.spawned_at = time.monotonic()
        self.tail = LogTail()

    @property
    def socket(self) -> str:
        """Path of the Unix socket that the engine serves HTTP on."""
        return f"{self._directory}/engine.sock"

    @property
    def pid(self) -> int:
        """The guard's process id; everything of the engine is below it."""
        return self._guard.pid

    @property
    def exit_code(self) -> int | None:
        """The engine's exit status, negative for a signal, None while it runs."""
        return self._guard.returncode

    def adopt(self, on_line: Callable[[str], None]) -> None:
        """Read the log and wait for the end from the running event loop; every log line goes to `on_line` too."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self.tail.on_line = on_line
        pidfd = os.pidfd_open(self._guard.pid)
        loop.add_reader(pidfd, self._on_exit, loop, pidfd)
        os.set_blocking(self._log, False)
        loop.add_reader(self._log, self._on_log, loop)

    def tell(self, settings: EngineSettings) -> bool:
        """Give a process that was spawned waiting its arguments; False when it can no longer become the engine."""
        told = json.dumps(serve_arguments(settings, self.socket)).encode()
        try:
            if self.exit_code is not None or os.write(self._telling, told) < len(told):
                return False
        except BrokenPipeError:
            return False
        self._close_telling()
        return True

    async def wait(self) -> int:
        """The exit status, once the engine ended, its log is read and nothing of it is left."""
        assert self._exited is not None, "adopt() first"
        await self._exited.wait()
        code = self._guard.returncode
        assert code is not None
        return code

    def take_inventory(self) -> None:
        """Have the guard note the shared memory in use, for the day all its users die together."""
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(b"i")
        except BrokenPipeError:
            return

    async def stop(self) -> None:
        """End the engine: asked first, killed after the grace time; returns when nothing of it is left."""
        import asyncio

        if self._guard.returncode is None:
            self._guard.terminate()
        try:
            async with asyncio.timeout(GRACE_S + STOP_MARGIN_S):
                await self.wait()
        except TimeoutError:
            self._guard.kill()
            await self.wait()

    async def kill(self) -> None:
        """End the engine without asking; returns when nothing of it is left."""
        self.abandon()
        await self.wait()

    def abandon(self) -> None:
        """Let the guard end everything at once, as when the worker dies. Needs no event loop; does not wait."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()

    def wait_ended(self) -> None:
        """Block until an abandoned engine is gone, where no event loop took it over."""
        self._guard.wait(STOP_MARGIN_S)
        os.close(self._log)
        self._close_telling()

    def _on_log(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            data = os.read(self._log, 65536)
        except BlockingIOError:
            return
        if data:
            self.tail.feed(data)
        else:
            self._close_log(loop)

    def _close_telling(self) -> None:
        if self._telling >= 0:
            os.close(self._telling)
            self._telling = -1

    def _close_log(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._log >= 0:
            loop.remove_reader(self._log)
            os.close(self._log)
            self._log = -1
            self.tail.close()

    def _on_exit(self, loop: asyncio.AbstractEventLoop, pidfd: int) -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        self._guard.wait()
        if os.path.isdir(self._directory):  # the guard itself was killed
            end_session(self._guard.pid)
            remove_remains(self._directory)
        while self._log >= 0:
            try:
                if data := os.read(self._log, 65536):
                    self.tail.feed(data)
                    continue
            except BlockingIOError:
                pass  # a stray holder of the log outlived the guard; what it writes is not the engine's
            self._close_log(loop)
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._close_telling()
        assert self._exited is not None
        self._exited.set()


def spawn(settings: EngineSettings, environment: Mapping[str, str], *, waiting: bool = False) -> EngineProcess:
    """Start the engine under its guard, in a fresh directory that only this user may enter.

    A `waiting` one imports its modules and then waits to be told what to serve; its environment is final.
    """
    directory = fresh_directory()
    log_reader, log_writer = os.pipe()
    enlarge(log_reader)
    told_on, telling = waiting_pipe() if waiting else (None, -1)
    argv = engine_argv(settings, f"{directory}/engine.sock", told_on)
    command = [sys.executable, "-I", "-S", str(GUARD), directory, str(GRACE_S), *argv]
    try:
        guard = subprocess.Popen(
            command,
            bufsize=0,
            env=child_environment(settings, environment, directory),
            stdin=subprocess.PIPE,
            stdout=log_writer,
            stderr=log_writer,
            start_new_session=True,
            pass_fds=() if told_on is None else (told_on,),
        )
    finally:
        os.close(log_writer)
        if told_on is not None:
            os.close(told_on)
    return EngineProcess(guard, directory, log_reader, telling)


def waiting_pipe() -> tuple[int, int]:
    """Both ends of the pipe for a waiting engine's arguments; writing to it never blocks."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    return reader, writer


def enlarge(pipe: int) -> None:
    """Give the log pipe room for what is said before the event loop reads; a kernel may refuse."""
    import fcntl

    try:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return
